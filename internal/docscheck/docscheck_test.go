// Package docscheck keeps the documentation true: links lead somewhere, and Go
// snippets are copies of code that compiles and runs as an example.
package docscheck

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	checked := 0
	for _, file := range documents(t) {
		text := withoutFences(read(t, file))
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: link %q: %v", file, m[1], err)
				continue
			}
			if target.Scheme != "" {
				continue
			}
			checked++
			to := file
			if target.Path != "" {
				to = filepath.Join(filepath.Dir(file), filepath.FromSlash(target.Path))
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: link %q leads nowhere", file, m[1])
				continue
			}
			if target.Fragment != "" && !anchors(read(t, to))[target.Fragment] {
				t.Errorf("%s: link %q: %s has no heading with that anchor", file, m[1], to)
			}
		}
	}
	if checked == 0 {
		t.Fatal("no link was checked: the pattern or the list of documents is broken")
	}
}

// A Go snippet of the README is the body of an example whose output is checked,
// or a whole file that an example runs.
func TestGoSnippetsAreExamples(t *testing.T) {
	var sources []string
	for _, pattern := range []string{"*_test.go", "server/*_test.go", "client/*_test.go", "morningaitest/*_test.go", "rq/*_test.go", "testdata/*/main.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			sources = append(sources, squeeze(read(t, f)))
		}
	}
	checked := 0
	for _, file := range documents(t) {
		for _, snippet := range fences(read(t, file), "go") {
			checked++
			want := squeeze(snippet)
			found := false
			for _, src := range sources {
				if strings.Contains(src, want) {
					found = true
					break
				}
			}
			if !found {
				t.Errorf("%s: this snippet is not part of any example, so nothing proves that it works:\n%s", file, snippet)
			}
		}
	}
	if checked == 0 {
		t.Fatal("no Go snippet was found: the pattern or the list of documents is broken")
	}
}

func documents(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	return append(files, more...)
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// squeeze drops indentation and blank lines, in which a snippet may differ from
// the function it was taken from.
func squeeze(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

func fences(text, language string) []string {
	var out []string
	var body []string
	in := false
	for line := range strings.Lines(text) {
		switch {
		case !in && strings.TrimSpace(line) == "```"+language:
			in, body = true, nil
		case in && strings.TrimSpace(line) == "```":
			in = false
			out = append(out, strings.Join(body, ""))
		case in:
			body = append(body, line)
		}
	}
	return out
}

func withoutFences(text string) string {
	var out strings.Builder
	in := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			in = !in
			continue
		}
		if !in {
			out.WriteString(line)
		}
	}
	return out.String()
}

// anchors are the fragments of a page's headings, made as hosting sites make
// them: lower case, punctuation dropped, spaces to hyphens.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(withoutFences(text)) {
		heading, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		var b strings.Builder
		for _, r := range strings.ToLower(strings.TrimSpace(heading)) {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				b.WriteRune(r)
			case r == ' ':
				b.WriteByte('-')
			}
		}
		out[b.String()] = true
	}
	return out
}
