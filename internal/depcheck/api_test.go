package depcheck

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// The exported API of our public packages mentions no type of a dependency.
// Why: a dependency's next major version must not become ours, and nobody who
// uses the library should have to know what it is built on.
func TestExportedAPIMentionsNoDependency(t *testing.T) {
	top := root(t)
	exports := map[string]string{}
	standard := map[string]bool{}
	var public []string
	for _, p := range goList(t, top, "-export", "-deps", "./...") {
		exports[p.ImportPath] = p.Export
		standard[p.ImportPath] = p.Standard
		if rel, ok := own(p.ImportPath); ok && !strings.HasPrefix(rel, "internal/") && !strings.HasPrefix(rel, "cmd/") && !strings.HasPrefix(rel, "testdata/") {
			public = append(public, p.ImportPath)
		}
	}
	if !slices.Contains(public, module) {
		t.Fatal("the root package is not listed")
	}
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(name string) (io.ReadCloser, error) {
		if exports[name] == "" {
			return nil, fmt.Errorf("no compiled form of %s", name)
		}
		return os.Open(exports[name])
	})
	for _, name := range public {
		p, err := imp.Import(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, found := range foreign(p, func(other string) bool {
			_, ours := own(other)
			return ours || standard[other]
		}) {
			t.Errorf("%s: %s", name, found)
		}
	}
}

// foreign returns what the exported API of p mentions of packages that are not
// allowed.
func foreign(p *types.Package, allowed func(importPath string) bool) []string {
	w := &walker{allowed: allowed, seen: map[types.Type]bool{}}
	for _, name := range p.Scope().Names() {
		obj := p.Scope().Lookup(name)
		if !obj.Exported() {
			continue
		}
		w.where = name
		w.walk(obj.Type())
		if named, ok := obj.Type().(*types.Named); ok {
			w.walk(named.Underlying())
			for m := range named.Methods() {
				if m.Exported() {
					w.where = name + "." + m.Name()
					w.walk(m.Type())
				}
			}
		}
	}
	slices.Sort(w.found)
	return slices.Compact(w.found)
}

type walker struct {
	allowed func(string) bool
	seen    map[types.Type]bool
	where   string
	found   []string
}

func (w *walker) walk(t types.Type) {
	if t == nil || w.seen[t] {
		return
	}
	switch t := t.(type) {
	case *types.Named:
		w.name(t.Obj())
		for arg := range t.TypeArgs().Types() {
			w.walk(arg)
		}
		return // its own fields are looked at where it is declared
	case *types.Alias:
		w.name(t.Obj())
		w.walk(t.Rhs())
		return
	}
	w.seen[t] = true
	switch t := t.(type) {
	case *types.Pointer:
		w.walk(t.Elem())
	case *types.Slice:
		w.walk(t.Elem())
	case *types.Array:
		w.walk(t.Elem())
	case *types.Chan:
		w.walk(t.Elem())
	case *types.Map:
		w.walk(t.Key())
		w.walk(t.Elem())
	case *types.Signature:
		w.walk(t.Params())
		w.walk(t.Results())
		for p := range t.TypeParams().TypeParams() {
			w.walk(p.Constraint())
		}
	case *types.Tuple:
		for v := range t.Variables() {
			w.walk(v.Type())
		}
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() || f.Embedded() {
				w.walk(f.Type())
			}
		}
	case *types.Interface:
		for m := range t.ExplicitMethods() {
			w.walk(m.Type())
		}
		for e := range t.EmbeddedTypes() {
			w.walk(e)
		}
	}
}

func (w *walker) name(obj *types.TypeName) {
	if p := obj.Pkg(); p != nil && !w.allowed(p.Path()) {
		w.found = append(w.found, fmt.Sprintf("%s mentions %s.%s", w.where, p.Path(), obj.Name()))
	}
}

// The walk finds a foreign type wherever it can stand.
func TestForeignTypesAreFound(t *testing.T) {
	const dep = "package dep\ntype T struct{}\ntype I interface{ M() }\n"
	const api = `package api
import "example.com/dep"
type Field struct{ F map[string][]*dep.T }
type Embedded struct{ dep.T }
type hidden struct{ F dep.T }
type Private struct{ f dep.T }
func Param(func(dep.T)) {}
func Result() (chan dep.T, error) { return nil, nil }
func (Private) Method(...dep.T) {}
type Face interface{ M(dep.T) }
type Renamed = dep.T
type Based dep.I
func Generic[V dep.I](V) {}
var Variable [2]dep.T
func unexported(dep.T) hidden { return hidden{} }
func Fine(int, hidden) error { return nil }
`
	fset := token.NewFileSet()
	parse := func(name, text string) []*ast.File {
		f, err := parser.ParseFile(fset, name, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		return []*ast.File{f}
	}
	depPkg, err := new(types.Config).Check("example.com/dep", fset, parse("dep.go", dep), nil)
	if err != nil {
		t.Fatal(err)
	}
	config := &types.Config{Importer: fixed{depPkg}}
	apiPkg, err := config.Check("example.com/api", fset, parse("api.go", api), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, found := range foreign(apiPkg, func(p string) bool { return path.Base(p) != "dep" }) {
		where, _, _ := strings.Cut(found, " ")
		got[where] = true
	}
	for _, want := range []string{"Field", "Embedded", "Param", "Result", "Private.Method", "Face", "Renamed", "Generic", "Variable"} {
		if !got[want] {
			t.Errorf("%s is not told", want)
		}
		delete(got, want)
	}
	delete(got, "Based") // its methods are plain: either answer is right
	if len(got) > 0 {
		t.Errorf("told without reason: %v", got)
	}
}

type fixed struct{ p *types.Package }

func (f fixed) Import(string) (*types.Package, error) { return f.p, nil }
