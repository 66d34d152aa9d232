package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/RC918/morningai"
)

// envFile is a file of lines NAME=VALUE, as service managers read them. Of it only
// settings of this program are taken. They go before what the process was started
// with, so that changing the file and a SIGHUP change them.
type envFile struct {
	mu   sync.Mutex
	was  map[string]*string // of what the file has set: the value before; nil: none
	path string
}

const (
	envFileFlag = "--env-file"
	envFileName = "MORNINGAI_ENV_FILE"
)

// find looks for the file among arguments that are not parsed yet: what is parsed
// depends on it.
func (f *envFile) find(args []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.path = os.Getenv(envFileName)
	for i, a := range args {
		if a == "--" {
			return
		}
		if value, ok := strings.CutPrefix(a, envFileFlag+"="); ok {
			f.path = value
		} else if a == envFileFlag && i+1 < len(args) {
			f.path = args[i+1]
		}
	}
}

// apply reads the file into the environment. After an error nothing has changed.
func (f *envFile) apply() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == "" {
		return nil
	}
	values, err := readEnvFile(f.path)
	if err != nil {
		return err
	}
	for name, value := range f.was {
		if value == nil {
			err = os.Unsetenv(name)
		} else {
			err = os.Setenv(name, *value)
		}
		if err != nil {
			return fmt.Errorf("restore the environment: %w", err)
		}
	}
	f.was = map[string]*string{}
	for name, value := range values {
		f.was[name] = nil
		if before, ok := os.LookupEnv(name); ok {
			f.was[name] = &before
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("set the environment: %w", err)
		}
	}
	return nil
}

// readEnvFile never repeats a value: it may be a password.
func readEnvFile(path string) (map[string]string, error) {
	bad := func(detail string, err error) error {
		return &morningai.Error{Code: morningai.CodeInvalidInput, Op: "read settings", Detail: "the file of settings " + detail,
			Hint: "its lines are NAME=VALUE, such as MORNINGAI_LOG_LEVEL=debug", Err: err}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, bad("cannot be read", err)
	}
	out := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, bad(fmt.Sprintf("has no = on line %d", n), nil)
		}
		if name == envFileName || !strings.HasPrefix(name, "MORNINGAI_") && name != "REDIS_URL" {
			continue
		}
		if len(value) > 1 && (value[0] == '"' || value[0] == '\'') {
			if value[len(value)-1] != value[0] {
				return nil, bad(fmt.Sprintf("has an open quote on line %d", n), nil)
			}
			value = value[1 : len(value)-1]
		}
		out[name] = value
	}
	if err := lines.Err(); err != nil {
		return nil, bad("cannot be read", err)
	}
	return out, nil
}
