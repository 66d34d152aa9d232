package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"html/template"
	"slices"
	"strings"
)

const (
	htmlType = "text/html; charset=utf-8"
	// docsPolicy: the page is text and its own style, nothing else.
	docsPolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// What the page reads of the document.
type (
	docFile struct {
		Info struct {
			Title, Version, Description string
		}
		Paths      map[string]map[string]docOperation
		Components struct{ Schemas map[string]docSchema }
	}
	docOperation struct {
		Method, Path         string
		Summary, Description string
		Tags                 []string
		Parameters           []struct {
			Name, In, Description string
			Schema                docSchema
		}
		RequestBody *struct{ Content map[string]docMedia }
		Responses   map[string]struct {
			Description string
			Content     map[string]docMedia
		}
	}
	docMedia  struct{ Schema docSchema }
	docSchema struct {
		Ref         string `json:"$ref"`
		Type        any
		Format      string
		Description string
		Enum        []any
		Items       *docSchema
		AnyOf       []docSchema
		Properties  map[string]docSchema
		Required    []string
	}
)

// Kind says in a word or two what a value is.
func (s docSchema) Kind() template.HTML {
	if s.Ref != "" {
		name := template.HTMLEscapeString(strings.TrimPrefix(s.Ref, schemaPrefix))
		return template.HTML(`<a href="#` + name + `">` + name + `</a>`)
	}
	var kind template.HTML
	switch t := s.Type.(type) {
	case string:
		kind = template.HTML(template.HTMLEscapeString(t))
	case []any:
		for i, one := range t {
			if name, ok := one.(string); ok {
				if i > 0 {
					kind += " or "
				}
				kind += template.HTML(template.HTMLEscapeString(name))
			}
		}
	}
	for i, option := range s.AnyOf {
		if i > 0 {
			kind += " or "
		}
		kind += option.Kind()
	}
	if s.Items != nil {
		kind += " of " + s.Items.Kind()
	}
	return cmp.Or(kind, "any value")
}

// docsPage renders the document once; it needs no script and no network.
func docsPage(document []byte) ([]byte, error) {
	var doc docFile
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, err
	}
	var ops []docOperation
	for path, methods := range doc.Paths {
		for method, op := range methods {
			op.Method, op.Path = strings.ToUpper(method), path
			ops = append(ops, op)
		}
	}
	slices.SortFunc(ops, func(a, b docOperation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	var page bytes.Buffer
	err := docsTemplate.Execute(&page, map[string]any{"Doc": doc, "Operations": ops})
	return page.Bytes(), err
}

var docsTemplate = template.Must(template.New("docs").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Doc.Info.Title}} API</title>
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code{font-family:ui-monospace,monospace}
details{border:1px solid #8884;border-radius:6px;margin:.4rem 0;padding:.4rem .8rem}
summary{cursor:pointer}summary b{display:inline-block;min-width:4.5rem}
table{border-collapse:collapse;width:100%;margin:.6rem 0}
td,th{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #8883}
td:first-child{white-space:nowrap}
</style></head><body>
<h1>{{.Doc.Info.Title}} <small>{{.Doc.Info.Version}}</small></h1>
<p>{{.Doc.Info.Description}} This page as data: <a href="openapi.json">openapi.json</a>.</p>
<h2>Routes</h2>
{{range .Operations}}<details><summary><b>{{.Method}}</b> <code>{{.Path}}</code> {{.Summary}}</summary>
{{with .Description}}<p>{{.}}</p>{{end}}
{{if .Parameters}}<table><tr><th>Parameter</th><th>In</th><th>Value</th><th></th></tr>
{{range .Parameters}}<tr><td><code>{{.Name}}</code></td><td>{{.In}}</td><td>{{.Schema.Kind}}</td><td>{{.Description}}</td></tr>{{end}}</table>{{end}}
{{with .RequestBody}}<p>Body: {{range .Content}}{{.Schema.Kind}}{{end}}</p>{{end}}
<table><tr><th>Answer</th><th>Body</th><th></th></tr>
{{range $status, $r := .Responses}}<tr><td>{{$status}}</td><td>{{range .Content}}{{.Schema.Kind}} {{end}}</td><td>{{.Description}}</td></tr>{{end}}</table>
</details>
{{end}}<h2>Bodies</h2>
{{range $name, $s := .Doc.Components.Schemas}}<h3 id="{{$name}}">{{$name}}</h3>
<table>{{range $field, $f := .Properties}}<tr><td><code>{{$field}}</code></td><td>{{$f.Kind}}</td><td>{{$f.Description}}{{if $f.Enum}} One of:{{range $f.Enum}} <code>{{.}}</code>{{end}}{{end}}</td></tr>{{end}}</table>
{{end}}</body></html>
`))
