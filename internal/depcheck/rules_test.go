package depcheck

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rule is one thing that holds for the repository, and why.
type rule struct {
	name  string
	why   string
	check func(*tree) []string
	bad   *tree // breaks the rule: it must be told
}

func rules() []rule {
	return []rule{
		{
			name:  "the root imports nothing of ours",
			why:   "it is the vocabulary that everything else speaks; whoever imports it gets no engine and no server with it",
			check: mayImport(is("."), is()),
			bad:   imports(".", "sqlite"),
		},
		{
			name:  "engines import the root only",
			why:   "an engine can be taken alone, and none knows of another; resilient is given its engines",
			check: mayImport(is(engines...), is(".")),
			bad:   imports("resilient", "sqlite"),
		},
		{
			name:  "docgen imports the root only",
			why:   "it is a handler like any user's: whatever it needed beside the root, users would lack",
			check: mayImport(is("docgen"), is(".")),
			bad:   imports("docgen", "server"),
		},
		{
			name:  "rq imports the root and the Redis engine's connections only",
			why:   "whoever shares a Redis with Python programs needs no server for it",
			check: mayImport(is("rq"), is(".", "redis")),
			bad:   imports("rq", "server"),
		},
		{
			name:  "the HTTP API and the dashboard reach no engine",
			why:   "they speak the contract, so that every engine is served by the same code",
			check: neverReach(is("internal/httpapi", "internal/dashboard"), is(engines...)),
			bad:   reaches("internal/httpapi", "internal/wire", "sqlite"),
		},
		{
			name:  "commands import the server, the client and the tools, and no engine",
			why:   "one place wires everything together, and the command line is not that place",
			check: mayImport(is("cmd/morningai"), isNot(append([]string{"internal/httpapi"}, engines...)...)),
			bad:   imports("cmd/morningai", "sqlite"),
		},
		{
			name:  "the client reaches neither server nor engine",
			why:   "a program that talks to a server does not carry one",
			check: neverReach(is("client", "internal/peer"), is(append([]string{"server", "internal/httpapi"}, engines...)...)),
			bad:   reaches("client", "internal/wire", "server"),
		},
		{
			name:  "backups reach no engine",
			why:   "they are made of what the contract says; what they knew beside it would be missing on the next engine",
			check: neverReach(is("internal/backup"), is(engines...)),
			bad:   reaches("internal/backup", "sqlite"),
		},
		{
			name:  "the history checker reaches no engine",
			why:   "it judges what was seen of a fleet; whoever knows how an engine works would excuse it",
			check: neverReach(is("internal/drill"), is(engines...)),
			bad:   reaches("internal/drill", "server", "resilient"),
		},
		{
			name:  "nothing made for tests is in the program",
			why:   "scripted failures and test clocks must not be reachable in production",
			check: neverReach(is("server", "cmd/morningai", "client"), is(testOnly...)),
			bad:   reaches("server", "internal/wire", "enginetest"),
		},
		{
			name:  "what stages outages is out of the server's reach",
			why:   "the drill command has it; a server that could break its own Redis would one day do it",
			check: neverReach(is("server", "client"), is("internal/chaos", "internal/redisproc", "internal/faultproxy")),
			bad:   reaches("server", "internal/wire", "internal/faultproxy"),
		},
		{
			name:  "no package is called util, common, types or pkg",
			why:   "a name that says nothing gathers everything",
			check: names,
			bad:   &tree{dirs: []string{"internal/util"}},
		},
		{
			name:  "folders are at most two deep",
			why:   "what cannot be found from the root in two steps is not found",
			check: depth,
			bad:   &tree{dirs: []string{"internal/httpapi/problems"}},
		},
		{
			name:  fmt.Sprintf("no Go file is over %d lines", mostLines),
			why:   "a file is read in one sitting; 400 is the aim",
			check: tooLong(mostLines),
			bad:   &tree{files: map[string]string{"a.go": strings.Repeat("\n", mostLines+1)}},
		},
		{
			name: "no Go file says of itself that it is unfinished",
			why:  "what is not there yet is absent; it has no stub that says so",
			check: lines(`.go`, strings.Join([]string{`\bTO` + `DO\b`, `\bFIX` + `ME\b`, `\bXX` + `X\b`,
				`(?i)(not imple` + `mented|\bfor n` + `ow\b|place` + `holder([^:]|$))`}, "|")), // kong's tag is called so
			bad: &tree{files: map[string]string{"a.go": "// TO" + "DO: the rest\n"}},
		},
		{
			name:  "tests wait for what they test, and none is left out",
			why:   "a sleep is either too short or too long; a test that is passed over tests nothing",
			check: lines(`_test.go`, `(time\.Sl`+`eep\(|\b[tb]+\.Sk`+`ip)`),
			bad:   &tree{files: map[string]string{"a_test.go": "\ttime.Sl" + "eep(1)\n"}},
		},
		{
			name:  "no package registers itself",
			why:   "constructors are explicit: what a program has is what it asked for",
			check: lines(`.go`, `^func init\(\)`),
			bad:   &tree{files: map[string]string{"a.go": "func init() {}\n"}},
		},
		{
			name:  "nothing names a machine's folders or a module proxy",
			why:   "the repository speaks of itself alone and works anywhere",
			check: lines(``, `(\.\./sha`+`red|/wo`+`rk/main|/ro`+`ot/go|proxy\.golang`+`\.org|registry\.npm`+`js)`),
			bad:   &tree{files: map[string]string{"README.md": "see ../sha" + "red\n"}},
		},
		{
			name:  "no file has the marks of an unsolved merge",
			why:   "what two people wrote stands there twice, and nobody has chosen",
			check: lines(``, `^(<<<<<<`+`<|>>>>>>`+`>)( |$)`),
			bad:   &tree{files: map[string]string{"README.md": "<<<<<<" + "< HEAD\n"}},
		},
		{
			name:  "one place refuses to mix modules: only the benchmarks have their own",
			why:   "peers are measured against, never depended on",
			check: modules,
			bad:   &tree{files: map[string]string{"go.mod": "", "server/go.mod": ""}},
		},
	}
}

var (
	engines = []string{"sqlite", "redis", "resilient"}
	// What only tests may link.
	testOnly = []string{"enginetest", "morningaitest", "internal/fault", "internal/depcheck", "internal/crashtest", "internal/outagetest", "internal/docscheck", "internal/redistest", "internal/rqtest", "internal/sim"}
)

const (
	mostLines = 500
	aimLines  = 400
)

func TestRules(t *testing.T) {
	all := load(t)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			for _, broken := range r.check(all) {
				t.Errorf("%s\nwhy: %s", broken, r.why)
			}
		})
	}
	for _, long := range tooLong(aimLines)(all) {
		t.Logf("worth splitting: %s", long)
	}
}

// A rule that cannot fail is no rule.
func TestRulesCanFail(t *testing.T) {
	for _, r := range rules() {
		if len(r.check(r.bad)) == 0 {
			t.Errorf("%q finds nothing in a tree that breaks it", r.name)
		}
		if r.why == "" {
			t.Errorf("%q does not say why", r.name)
		}
	}
}

type selector func(rel string) bool

func is(names ...string) selector {
	return func(rel string) bool { return slices.Contains(names, rel) }
}

func isNot(names ...string) selector {
	return func(rel string) bool { return !slices.Contains(names, rel) }
}

// mayImport: of ours, the packages in from import none but those in what.
func mayImport(from, what selector) func(*tree) []string {
	return check(from, func(p *pkg) []string { return p.Imports }, func(rel string) bool { return !what(rel) })
}

// neverReach: the packages in from do not depend, by however many steps, on
// those in what.
func neverReach(from, what selector) func(*tree) []string {
	return check(from, func(p *pkg) []string { return p.Deps }, what)
}

func check(from selector, list func(*pkg) []string, wrong selector) func(*tree) []string {
	return func(t *tree) []string {
		var out []string
		for _, p := range t.packages {
			rel, ok := own(p.ImportPath)
			if !ok || !from(rel) {
				continue
			}
			for _, dep := range list(p) {
				if target, ok := own(dep); ok && wrong(target) {
					out = append(out, fmt.Sprintf("%s depends on %s", rel, target))
				}
			}
		}
		return out
	}
}

func names(t *tree) []string {
	var out []string
	for _, dir := range t.dirs {
		if slices.Contains([]string{"util", "utils", "common", "types", "pkg", "helpers", "misc", "vendor"}, path.Base(dir)) {
			out = append(out, dir)
		}
	}
	return out
}

func depth(t *tree) []string {
	var out []string
	for _, dir := range t.dirs {
		// Data of tests and what is hidden has its own form; bench is another module.
		if strings.Contains("/"+dir+"/", "/testdata/") || strings.HasPrefix(dir, ".") || strings.HasPrefix(dir, "bench/") {
			continue
		}
		if strings.Count(dir, "/") > 1 {
			out = append(out, dir)
		}
	}
	return out
}

func tooLong(most int) func(*tree) []string {
	return func(t *tree) []string {
		var out []string
		for name, text := range t.files {
			if n := strings.Count(text, "\n"); n > most && path.Ext(name) == ".go" {
				out = append(out, fmt.Sprintf("%s has %d lines", name, n))
			}
		}
		slices.Sort(out)
		return out
	}
}

// lines finds lines that match, in files whose names end so.
func lines(suffix, pattern string) func(*tree) []string {
	expr := regexp.MustCompile(pattern)
	return func(t *tree) []string {
		var out []string
		for name, text := range t.files {
			if !strings.HasSuffix(name, suffix) || strings.Contains(name, "testdata/") {
				continue
			}
			n := 0
			for line := range strings.Lines(text) {
				if n++; expr.MatchString(strings.TrimSuffix(line, "\n")) {
					out = append(out, fmt.Sprintf("%s:%d: %s", name, n, strings.TrimSpace(line)))
				}
			}
		}
		slices.Sort(out)
		return out
	}
}

func modules(t *tree) []string {
	var out []string
	for name := range t.files {
		if path.Base(name) == "go.mod" && name != "go.mod" && name != "bench/go.mod" && !strings.Contains(name, "testdata/") {
			out = append(out, name)
		}
	}
	return out
}

func imports(from string, to ...string) *tree {
	p := &pkg{ImportPath: path.Join(module, from)}
	for _, name := range to {
		p.Imports = append(p.Imports, path.Join(module, name))
	}
	return &tree{packages: []*pkg{p}}
}

func reaches(from string, to ...string) *tree {
	t := imports(from, to[0])
	for _, name := range to {
		t.packages[0].Deps = append(t.packages[0].Deps, path.Join(module, name))
	}
	return t
}
