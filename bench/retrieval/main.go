// Command retrieval measures how well questions find their passages, and how
// rarely documents answer what they are not about. It prints a table, and exits
// with 1 if a figure is below what is promised. Arguments name some of the
// yardsticks: questions, heldout, few, few-heldout, few-languages.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	_, file, _, _ := runtime.Caller(0)
	dir, err := os.MkdirTemp("", "yardstick")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	names := os.Args[1:]
	if len(names) == 0 {
		names = yardsticks
	}
	ok, err := measure(context.Background(), filepath.Dir(file), names, dir, os.Stdout)
	if removeErr := os.RemoveAll(dir); err == nil {
		err = removeErr
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}
