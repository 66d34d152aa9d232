package docgen

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"unicode"
)

const maxSlug = 80

// reserved are names that Windows gives to devices.
var reserved = regexp.MustCompile(`^(?:con|prn|aux|nul|com\d|lpt\d)$`)

// slug makes a file name of a question: small ASCII letters, digits and single
// hyphens. Where that loses something, such as Chinese characters or the end of
// a long question, a digest of the question is added, so that different
// questions have different names and the same one always the same.
func slug(question string) string {
	question = oneLine(question)
	var b strings.Builder
	lost := false
	for _, r := range strings.ToLower(foldMarks(foldWidth(question))) {
		switch {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
			b.WriteRune(r)
		case r == '\'' || r == '’':
		case unicode.IsSpace(r) || strings.ContainsRune("?.,!:;-_/\"()[]`。,？！、「」", r):
			b.WriteByte(' ')
		default:
			lost = true
			b.WriteByte(' ')
		}
	}
	name := ""
	for _, w := range strings.Fields(b.String()) {
		if len(name)+len(w)+1 > maxSlug {
			lost = true
			break
		}
		name = strings.TrimPrefix(name+"-"+w, "-")
	}
	if !lost && name != "" && !reserved.MatchString(name) {
		return name
	}
	sum := sha256.Sum256([]byte(question))
	return strings.TrimPrefix(name+"-"+hex.EncodeToString(sum[:5]), "-")
}

// oneLine replaces every run of white space by a blank, and drops control and
// formatting characters.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}
