package docgen

import (
	"cmp"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// linker rewrites the links of a passage, which are relative to its file, so
// that they hold in the published answer. A link whose target does not exist
// becomes plain text.
type linker struct {
	folder  *folder
	file    string // the passage's file, in the documents folder
	refs    map[string]string
	visited []string // repository paths of the documents that links lead to
}

// edit replaces text[start:end].
type edit struct {
	start, end int
	with       string
}

func applyEdits(text string, edits []edit) string {
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.start, b.start) })
	var b strings.Builder
	at := 0
	for _, e := range edits {
		if e.start < at {
			continue
		}
		b.WriteString(text[at:e.start])
		b.WriteString(e.with)
		at = e.end
	}
	b.WriteString(text[at:])
	return b.String()
}

var (
	referenceUse = regexp.MustCompile(`!?\[((?:[^\[\]\\]|\\.)+)\](?:\[([^\[\]]*)\])?`)
	htmlTarget   = regexp.MustCompile(`(?i)\b(src|href)\s*=\s*("[^"]*"|'[^']*')`)
)

// rewrite returns prose, which holds no fenced code, with its links rewritten.
func (l *linker) rewrite(prose string) string {
	prose = l.references(prose)
	prose = l.inline(prose)
	mask := maskCode(prose)
	var edits []edit
	for _, m := range htmlTarget.FindAllStringSubmatchIndex(mask, -1) {
		start, end := m[4]+1, m[5]-1
		if to, ok := l.target(prose[start:end]); ok {
			edits = append(edits, edit{start, end, to})
		} else {
			edits = append(edits, edit{m[0], m[1], ""})
		}
	}
	return applyEdits(prose, edits)
}

// references writes links such as [text][label] out.
func (l *linker) references(prose string) string {
	if len(l.refs) == 0 {
		return prose
	}
	mask := maskCode(prose)
	var edits []edit
	for _, m := range referenceUse.FindAllStringSubmatchIndex(mask, -1) {
		if m[1] < len(mask) && (mask[m[1]] == '(' || mask[m[1]] == ':') || m[0] > 0 && mask[m[0]-1] == '\\' {
			continue
		}
		label := prose[m[2]:m[3]]
		if m[4] >= 0 && m[5] > m[4] {
			label = prose[m[4]:m[5]]
		}
		if to, ok := l.refs[refLabel(label)]; ok {
			edits = append(edits, edit{m[3] + 1, m[1], "(" + to + ")"})
		}
	}
	return applyEdits(prose, edits)
}

// inline rewrites [text](target) and images.
func (l *linker) inline(prose string) string {
	mask := maskCode(prose)
	var edits []edit
	for at := 0; ; {
		i := strings.Index(mask[at:], "](")
		if i < 0 {
			break
		}
		closing := at + i
		at = closing + 2
		start, end, after := destination(mask, at)
		if after < 0 {
			continue
		}
		if to, ok := l.target(prose[start:end]); ok {
			edits = append(edits, edit{start, end, to})
			continue
		}
		if open := openingBracket(mask, closing); open >= 0 {
			text := open
			if open > 0 && mask[open-1] == '!' {
				text--
			}
			edits = append(edits, edit{text, open + 1, ""}, edit{closing, after, ""})
		}
	}
	return applyEdits(prose, edits)
}

// destination finds the target of an inline link that starts at i, and where
// the link ends; after is -1 if it is none.
func destination(s string, i int) (start, end, after int) {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n') {
		i++
	}
	if i < len(s) && s[i] == '<' {
		n := strings.IndexAny(s[i+1:], ">\n")
		if n < 0 || s[i+1+n] == '\n' {
			return 0, 0, -1
		}
		start, end = i+1, i+1+n
		i = end + 1
	} else {
		start = i
		depth := 0
		for i < len(s) && s[i] > ' ' {
			if s[i] == '(' {
				depth++
			} else if s[i] == ')' {
				if depth == 0 {
					break
				}
				depth--
			}
			i++
		}
		end = i
	}
	n := strings.IndexByte(s[i:], ')')
	if n < 0 || n > 400 || strings.Contains(s[i:i+n], "\n\n") {
		return 0, 0, -1
	}
	return start, end, i + n + 1
}

func openingBracket(s string, closing int) int {
	depth := 0
	for i := closing - 1; i >= 0; i-- {
		switch s[i] {
		case ']':
			depth++
		case '[':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// maskCode blanks code spans and escaped characters, byte for byte, so that
// what is found in the rest is markup.
func maskCode(s string) string {
	b := []byte(s)
	for i := 0; i < len(b); {
		switch b[i] {
		case '\\':
			if i+1 < len(b) {
				b[i+1] = 'x'
			}
			i += 2
		case '`':
			n := 1
			for i+n < len(b) && b[i+n] == '`' {
				n++
			}
			end := closingRun(b, i+n, n)
			if end < 0 {
				i += n
				continue
			}
			for j := i; j < end; j++ {
				b[j] = 'x'
			}
			i = end
		default:
			i++
		}
	}
	return string(b)
}

// closingRun finds the end of the run of exactly n backticks that closes a code
// span, within the paragraph.
func closingRun(b []byte, from, n int) int {
	for i := from; i < len(b); {
		if b[i] == '\n' && i+1 < len(b) && b[i+1] == '\n' {
			return -1
		}
		if b[i] != '`' {
			i++
			continue
		}
		run := 1
		for i+run < len(b) && b[i+run] == '`' {
			run++
		}
		if run == n {
			return i + run
		}
		i += run
	}
	return -1
}

// target turns a link's target into one that holds in the answer. It reports
// false if the target is in the repository and does not exist.
func (l *linker) target(to string) (string, bool) {
	if to == "" {
		return "", false
	}
	if strings.HasPrefix(to, "//") || hasScheme(to) {
		return to, true
	}
	rest, fragment, hasFragment := strings.Cut(to, "#")
	rest, _, _ = strings.Cut(rest, "?")
	p, ok := l.resolve(rest)
	if !ok {
		return "", false
	}
	out := fromFAQ(p)
	if hasFragment {
		out += "#" + strings.ReplaceAll(fragment, " ", "%20")
	}
	return out, true
}

func hasScheme(to string) bool {
	scheme, _, ok := strings.Cut(to, ":")
	if !ok || scheme == "" {
		return false
	}
	for i, r := range scheme {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", r)) {
			return false
		}
	}
	return true
}

// resolve finds what a relative target names, as a path in the repository.
// Sites leave the extension out, and count from the root of the documents.
func (l *linker) resolve(to string) (string, bool) {
	layout := l.folder.layout
	if to == "" {
		return layout.repoPath(l.file), true
	}
	if decoded, err := url.PathUnescape(to); err == nil {
		to = decoded
	}
	var bases []string
	if strings.HasPrefix(to, "/") {
		bases = []string{layout.prefix, "."}
	} else {
		bases = []string{path.Dir(layout.repoPath(l.file))}
	}
	for _, base := range bases {
		p := path.Join(base, to)
		for _, variant := range []string{p, p + ".md", p + ".mdx"} {
			if !filepath.IsLocal(filepath.FromSlash(variant)) && variant != "." {
				continue
			}
			info, err := os.Stat(filepath.Join(layout.repo, filepath.FromSlash(variant)))
			if err != nil {
				continue
			}
			if info.Mode().IsRegular() && isDocument(variant) && !slices.Contains(l.visited, variant) {
				l.visited = append(l.visited, variant)
			}
			return variant, true
		}
	}
	return "", false
}
