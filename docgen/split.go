package docgen

import (
	"path"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxSection bounds a section, in bytes; a longer one is cut at blank lines
// outside code. A single block longer than that stays whole.
const maxSection = 4000

// document is one file, split.
type document struct {
	title    string
	lang     language
	sections []section
	refs     map[string]string // link reference definitions: label → target
}

// section is what stands under one heading, or a part of it.
type section struct {
	level    int      // 1 to 6; 0 before the first heading
	heading  string   // without markup
	parents  []string // headings above, outermost first
	anchor   string   // "" before the first heading
	part     int      // 0, or the number of the piece of a section that was cut
	body     string   // as written, without the heading
	position int      // among the file's sections
}

// split cuts a Markdown text at its headings. Sections without text of their
// own are left out; their headings live on in the paths of those below.
func split(name, text string) document {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	title, text := frontMatter(text)
	text = stripComments(text)
	s := &splitter{name: name, anchors: anchors{}, doc: document{title: title, refs: map[string]string{}}}
	s.mdx = strings.EqualFold(path.Ext(name), ".mdx")
	for line := range strings.SplitSeq(text, "\n") {
		s.line(line)
	}
	s.flush()
	s.doc.lang = languageOf(text)
	if s.doc.title == "" {
		s.doc.title = s.h1
	}
	if s.doc.title == "" {
		s.doc.title = titleFromName(name)
	}
	return s.doc
}

type splitter struct {
	name    string
	mdx     bool
	doc     document
	anchors anchors
	h1      string
	fence   fence
	stack   []section // open headings, one per level
	current section
	lines   []string
}

var (
	refDefinition = regexp.MustCompile(`^ {0,3}\[([^\[\]]+)\]:\s*<?([^\s<>]+)>?(?:\s+["'(].*)?\s*$`)
	mdxStatement  = regexp.MustCompile(`^(?:import\s.+from\s+["']|import\s+["']|export\s+(?:const|default|function|let|var)\b)`)
)

func (s *splitter) line(line string) {
	if s.fence.line(line) {
		s.lines = append(s.lines, line)
		return
	}
	if level, text, ok := atxHeading(line); ok {
		s.heading(level, text)
		return
	}
	if level := setextLevel(line); level > 0 && len(s.lines) > 0 {
		last := len(s.lines) - 1
		alone := last == 0 || strings.TrimSpace(s.lines[last-1]) == ""
		if alone && canBeSetext(s.lines[last]) {
			text := s.lines[last]
			s.lines = s.lines[:last]
			s.heading(level, text)
			return
		}
	}
	if m := refDefinition.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], "^") {
		label := refLabel(m[1])
		if _, known := s.doc.refs[label]; !known {
			s.doc.refs[label] = m[2]
		}
		return // its links are written out where they stand
	}
	if s.mdx && mdxStatement.MatchString(line) {
		return
	}
	s.lines = append(s.lines, line)
}

// refLabel brings a link label to the form in which labels are compared.
func refLabel(s string) string { return strings.Join(strings.Fields(strings.ToLower(s)), " ") }

func (s *splitter) heading(level int, text string) {
	s.flush()
	clean, id := cleanHeading(text)
	anchor := s.anchors.next(clean)
	if id != "" {
		anchor = id
	}
	if level == 1 && s.h1 == "" {
		s.h1 = clean
	}
	for len(s.stack) > 0 && s.stack[len(s.stack)-1].level >= level {
		s.stack = s.stack[:len(s.stack)-1]
	}
	next := section{level: level, heading: clean, anchor: anchor}
	for _, up := range s.stack {
		next.parents = append(next.parents, up.heading)
	}
	s.stack = append(s.stack, next)
	s.current = next
}

// flush ends the current section.
func (s *splitter) flush() {
	lines := s.lines
	s.lines = nil
	if s.fence.open() { // only at the end of a file
		lines = append(lines, s.fence.closing())
		s.fence = fence{}
	}
	body := strings.Trim(strings.Join(lines, "\n"), "\n")
	if strings.TrimSpace(body) == "" {
		return
	}
	pieces := cut(body)
	for i, piece := range pieces {
		next := s.current
		next.body = piece
		next.position = len(s.doc.sections)
		if len(pieces) > 1 {
			next.part = i + 1
		}
		s.doc.sections = append(s.doc.sections, next)
	}
}

// cut divides a long text at blank lines outside code.
func cut(body string) []string {
	if len(body) <= maxSection {
		return []string{body}
	}
	var pieces []string
	var f fence
	var b strings.Builder
	block := 0 // where the block that is being read starts, in b
	for line := range strings.SplitSeq(body, "\n") {
		in := f.line(line)
		if !in && strings.TrimSpace(line) == "" {
			block = b.Len()
		}
		b.WriteString(line + "\n")
		if b.Len() > maxSection && block > 0 {
			text := b.String()
			pieces = append(pieces, strings.Trim(text[:block], "\n"))
			b.Reset()
			b.WriteString(strings.TrimLeft(text[block:], "\n"))
			block = 0
		}
	}
	if rest := strings.Trim(b.String(), "\n"); strings.TrimSpace(rest) != "" {
		pieces = append(pieces, rest)
	}
	return pieces
}

// stripComments takes HTML comments out, outside code. One that is never closed
// ends with its paragraph.
func stripComments(text string) string {
	if !strings.Contains(text, "<!--") {
		return text
	}
	var b strings.Builder
	var f fence
	comment := false
	last := strings.LastIndex(text, "-->")
	at := 0
	for line := range strings.SplitAfterSeq(text, "\n") {
		next := at + len(line)
		if !comment && f.line(strings.TrimSuffix(line, "\n")) {
			b.WriteString(line)
			at = next
			continue
		}
		for line != "" {
			if comment {
				_, rest, found := strings.Cut(line, "-->")
				if !found {
					break
				}
				comment, line = false, rest
				continue
			}
			start := strings.Index(line, "<!--")
			if start < 0 || strings.Count(line[:start], "`")%2 == 1 {
				b.WriteString(line)
				break
			}
			b.WriteString(line[:start])
			line = line[start+len("<!--"):]
			comment = last >= next-len(line)
		}
		at = next
	}
	return b.String()
}

// titleFromName makes a title of a file name: "redis-outages.md" → "redis outages".
func titleFromName(name string) string {
	base := strings.TrimSuffix(path.Base(name), path.Ext(name))
	title := strings.Join(strings.FieldsFunc(base, func(r rune) bool { return r == '-' || r == '_' || r == ' ' }), " ")
	if title == "" || !utf8.ValidString(title) {
		return "document"
	}
	return title
}

// proseAndCode returns the words of a section, and its fenced code.
func proseAndCode(body string) (prose, code string) {
	prose, code = separate(body)
	return plainText(prose), code
}

// separate separates the text of a section from its fenced code.
func separate(body string) (prose, code string) {
	var p, c strings.Builder
	var f fence
	for line := range strings.SplitAfterSeq(body, "\n") {
		before := f.open()
		if f.line(strings.TrimSuffix(line, "\n")) {
			if before && f.open() {
				c.WriteString(line)
			}
			continue
		}
		p.WriteString(line)
	}
	return p.String(), c.String()
}

// plainText drops the targets of links, and tags, whose words are not what a
// section says.
func plainText(text string) string {
	if strings.Contains(text, "](") {
		for range 2 { // a badge is an image inside a link
			text = inlineLink.ReplaceAllString(text, "$1")
		}
	}
	if strings.Contains(text, "<") {
		text = htmlTag.ReplaceAllString(text, " ")
	}
	return text
}
