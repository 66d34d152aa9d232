package docgen

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// fence follows fenced code blocks from line to line.
type fence struct {
	mark byte // '`' or '~'; 0 outside
	n    int
}

// line takes the next line and reports whether it belongs to a fenced block,
// the fence lines included. Fences may be indented or quoted, as in lists.
func (f *fence) line(line string) bool {
	s := strings.TrimLeft(line, " \t>")
	mark, n := fenceRun(s)
	if f.mark == 0 {
		// An info string of a backtick fence has no backticks: that is inline code.
		if n < 3 || mark == '`' && strings.Contains(s[n:], "`") {
			return false
		}
		f.mark, f.n = mark, n
		return true
	}
	if mark == f.mark && n >= f.n && strings.TrimSpace(s[n:]) == "" {
		f.mark, f.n = 0, 0
	}
	return true
}

func (f *fence) open() bool { return f.mark != 0 }

// closing returns the line that ends the open fence.
func (f *fence) closing() string { return strings.Repeat(string(rune(f.mark)), f.n) }

func fenceRun(s string) (byte, int) {
	if s == "" || s[0] != '`' && s[0] != '~' {
		return 0, 0
	}
	n := 1
	for n < len(s) && s[n] == s[0] {
		n++
	}
	return s[0], n
}

var atx = regexp.MustCompile(`^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$`)

// atxHeading reads a heading line such as "## Title ##".
func atxHeading(line string) (level int, text string, ok bool) {
	if !strings.Contains(line, "#") {
		return 0, "", false
	}
	m := atx.FindStringSubmatch(line)
	if m == nil {
		return 0, "", false
	}
	text = m[2]
	if strings.Trim(text, "#") == "" {
		text = ""
	}
	return len(m[1]), text, true
}

// setextLevel reads an underline of = or - that makes the line above a heading.
func setextLevel(line string) int {
	if len(line)-len(strings.TrimLeft(line, " ")) > 3 {
		return 0
	}
	s := strings.TrimSpace(line)
	switch {
	case s == "":
	case strings.Trim(s, "=") == "":
		return 1
	case strings.Trim(s, "-") == "":
		return 2
	}
	return 0
}

var blockStart = regexp.MustCompile(`^(?: {4}|\t| {0,3}(?:[-*+][ \t]|\d{1,9}[.)][ \t]|[>|#<]|:::|(?:[-*_][ \t]*){3,}$))`)

// canBeSetext reports whether a line can be the text of an underlined heading:
// a paragraph of its own, not a list, quote, table or rule.
func canBeSetext(line string) bool {
	return strings.TrimSpace(line) != "" && !blockStart.MatchString(line)
}

var (
	headingID      = regexp.MustCompile(`\s*(?:\{/\*\s*#?([\w.-]*)[^}]*\*/\}|\{:?\s*#([\w.-]+)[^}]*\})\s*$`)
	headingAttrs   = regexp.MustCompile(`\s*\{:?\s*[.#][^}]*\}\s*$`)
	htmlTag        = regexp.MustCompile(`</?[A-Za-z][^<>]*>|<!--.*?-->`)
	inlineLink     = regexp.MustCompile(`!?\[((?:[^\[\]\\]|\\.)*)\]\((?:[^()\\]|\\.|\([^()]*\))*\)`)
	refLink        = regexp.MustCompile(`!?\[([^\[\]]+)\]\[[^\[\]]*\]`)
	emphasis       = regexp.MustCompile(`(\*\*|__)([^*_]+)(\*\*|__)`)
	emphasisSingle = regexp.MustCompile(`(^|\s)\*([^*]+)\*`)
)

// cleanHeading strips explicit ids, tags, links and emphasis from a heading's
// text, and returns the explicit id if there is one.
func cleanHeading(text string) (clean, id string) {
	if m := headingID.FindStringSubmatch(text); m != nil {
		id = m[1] + m[2]
		text = headingID.ReplaceAllString(text, "")
	}
	text = headingAttrs.ReplaceAllString(text, "")
	text = htmlTag.ReplaceAllString(text, "")
	for range 2 { // a badge is an image inside a link
		text = inlineLink.ReplaceAllString(text, "$1")
	}
	text = refLink.ReplaceAllString(text, "$1")
	text = emphasis.ReplaceAllString(text, "$2")
	text = emphasisSingle.ReplaceAllString(text, "$1$2")
	return strings.Join(strings.Fields(text), " "), id
}

// anchors makes the ids of the headings of one file the way GitHub does.
type anchors map[string]int

// next returns the anchor of the next heading: letters, digits, "-" and "_" in
// lower case, "-" for a space, and a number where the id was used before.
func (a anchors) next(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsNumber(r):
			b.WriteRune(r)
		}
	}
	id := b.String()
	n, seen := a[id]
	a[id] = n + 1
	if seen {
		id += "-" + strconv.Itoa(n)
		a[id]++
	}
	return id
}

// frontMatter cuts the block between "---" or "+++" lines off the start of a
// file and returns its title, if it has one.
func frontMatter(text string) (title, rest string) {
	var mark string
	switch {
	case strings.HasPrefix(text, "---\n"):
		mark = "---"
	case strings.HasPrefix(text, "+++\n"):
		mark = "+++"
	default:
		return "", text
	}
	const most = 64 << 10
	offset := len(mark) + 1
	for offset < len(text) && offset < most {
		line, _, _ := strings.Cut(text[offset:], "\n")
		next := min(offset+len(line)+1, len(text))
		trimmed := strings.TrimRight(line, " \t")
		if trimmed == mark || mark == "---" && trimmed == "..." {
			return title, text[next:]
		}
		if title == "" {
			title = frontTitle(line)
		}
		offset = next
	}
	return "", text // never closed: a rule, not front matter
}

func frontTitle(line string) string {
	key, value, ok := strings.Cut(line, ":")
	if k, v, toml := strings.Cut(line, "="); toml && (!ok || len(k) < len(key)) {
		key, value, ok = k, v, true
	}
	if !ok || strings.Trim(strings.ToLower(key), " \"") != "title" {
		return ""
	}
	value = strings.TrimSpace(value)
	if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
		value = value[1 : len(value)-1]
	}
	title, _ := cleanHeading(value)
	return title
}
