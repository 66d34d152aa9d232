package main

import (
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// Every flag and environment variable of the server, and of a client command,
// is on the setup page, with the default that the program has.
func TestSettingsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/setup.md")
	if err != nil {
		t.Fatal(err)
	}
	parser, err := kong.New(&commands{}, kong.Vars{"guess": guess})
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, node := range parser.Model.Leaves(false) {
		path := strings.TrimPrefix(node.Path(), "morningai ")
		if path != "serve" && path != "task submit" {
			continue
		}
		for _, flag := range node.Flags {
			if flag.Name == "help" {
				continue
			}
			checked++
			row := rowOf(string(page), "`--"+flag.Name)
			if row == "" {
				t.Errorf("docs/setup.md: --%s of %s is not described", flag.Name, path)
				continue
			}
			for _, env := range flag.Envs {
				if !strings.Contains(row, "`"+env+"`") {
					t.Errorf("docs/setup.md: the row of --%s does not name %s", flag.Name, env)
				}
			}
			if flag.Default != "" && flag.Default != "." && !strings.Contains(row, "`"+flag.Default+"`") {
				t.Errorf("docs/setup.md: the row of --%s does not give its default %s", flag.Name, flag.Default)
			}
		}
	}
	if checked < 20 {
		t.Fatalf("only %d flags were checked: the walk over the commands is broken", checked)
	}
}

// rowOf returns the table row in which a flag is described.
func rowOf(page, flag string) string {
	for line := range strings.Lines(page) {
		if i := strings.Index(line, flag); i >= 0 && strings.HasPrefix(line, "|") {
			if rest := line[i+len(flag):]; rest != "" && strings.ContainsRune("` ", rune(rest[0])) {
				return line
			}
		}
	}
	return ""
}
