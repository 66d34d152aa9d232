package docgen

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// analyserVersion is stored with the index; another one in the file leads to a
// rebuild. Raise it with every change of what analyse or split return.
const analyserVersion = 2

// maxTerm bounds one term, in bytes: longer ones are keys, hashes and encoded
// data that nobody asks for.
const maxTerm = 96

// kind says what a term is, which decides its weight in a question.
type kind uint8

const (
	kindWord       kind = iota + 1 // a stemmed word of a script with spaces
	kindIdentifier                 // a_b.c-d as a whole, "_" for every joint
	kindPart                       // a part of an identifier, stemmed
	kindJoined                     // an English verb and its particle as one word: "back up" as "backup"
	kindKatakana                   // a whole run of katakana
	kindHan                        // two Han characters
	kindMixed                      // two characters of different East Asian scripts
	kindSingle                     // an East Asian character that stands alone
	kindKatakana2                  // two katakana characters
	kindHiragana                   // two hiragana characters
	kindHangul                     // two hangul syllables
	kindHangulEnd                  // two hangul syllables, at least one of a particle or ending
	kindTriple                     // three characters of a script without spaces, such as Thai
)

// token is one term of a text. Several tokens may stand at one position: an
// identifier and its parts, a katakana word and its pairs.
type token struct {
	term string
	raw  string // of words and parts: lower case, before stemming
	kind kind
	pos  int
	caps bool // of words: begins with a capital letter
}

// script classes that decide how a run of characters is cut.
type script uint8

const (
	scriptNone script = iota
	scriptWord
	scriptHan
	scriptHiragana
	scriptKatakana
	scriptHangul
	scriptUnspaced
)

var unspaced = []*unicode.RangeTable{unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar}

func scriptOf(r rune) script {
	switch {
	case r < utf8.RuneSelf:
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' {
			return scriptWord
		}
		return scriptNone
	case r < 0x0e00:
		if unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsNumber(r) {
			return scriptWord
		}
		return scriptNone
	case r == 'ー':
		return scriptKatakana
	case r == '々' || r == '〆' || unicode.Is(unicode.Han, r) && unicode.IsLetter(r):
		return scriptHan
	case unicode.Is(unicode.Hiragana, r) && unicode.IsLetter(r):
		return scriptHiragana
	case unicode.Is(unicode.Katakana, r) && unicode.IsLetter(r):
		return scriptKatakana
	case unicode.Is(unicode.Hangul, r) && unicode.IsLetter(r):
		return scriptHangul
	case !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsNumber(r):
		return scriptNone
	case unicode.In(r, unspaced...):
		return scriptUnspaced
	}
	return scriptWord
}

// foldWidth brings text to one form: full-width letters become ASCII,
// half-width katakana full width, composed characters one character.
func foldWidth(text string) string {
	if norm.NFKC.IsNormalString(text) {
		return text
	}
	return norm.NFKC.String(text)
}

// analyser turns text into tokens. It keeps the stems it has computed, and is
// not safe for concurrent use.
type analyser struct {
	stems map[string]string
	lang  language
	out   []token
	pos   int
}

func newAnalyser() *analyser { return &analyser{stems: map[string]string{}} }

// analyse returns the tokens of a text that is written in lang. The slice is
// valid until the next call.
func (a *analyser) analyse(text string, lang language) []token {
	a.out, a.pos, a.lang = a.out[:0], 0, lang
	text = foldWidth(text)
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		class := scriptOf(r)
		switch class {
		case scriptNone:
			i += size
		case scriptWord:
			end := wordEnd(text, i)
			end = a.word(text, i, end)
			i = end
		default:
			end := i + size
			for end < len(text) {
				next, n := utf8.DecodeRuneInString(text[end:])
				if c := scriptOf(next); c < scriptHan || (c >= scriptHangul || class >= scriptHangul) && c != class {
					break
				}
				end += n
			}
			a.run(text[i:end], class)
			i = end
		}
	}
	return a.out
}

// terms returns the terms of a text joined by spaces, as the index takes them.
func (a *analyser) terms(text string, lang language) string {
	var b strings.Builder
	for _, t := range a.analyse(text, lang) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(t.term)
	}
	return b.String()
}

// wordEnd returns where the word or identifier that starts at i ends: word
// characters, and single joints between two of them.
func wordEnd(text string, i int) int {
	end := i
	for end < len(text) {
		r, n := utf8.DecodeRuneInString(text[end:])
		if scriptOf(r) == scriptWord {
			end += n
			continue
		}
		if r != '.' && r != '-' || end+1 >= len(text) {
			break
		}
		if next, _ := utf8.DecodeRuneInString(text[end+1:]); scriptOf(next) != scriptWord {
			break
		}
		end++
	}
	return end
}

// word emits the tokens of text[start:end], and returns where it stopped, which
// is further on for names such as C++.
func (a *analyser) word(text string, start, end int) int {
	word := text[start:end]
	trimmed := strings.Trim(word, "_.-")
	if trimmed == "" {
		return end
	}
	if len(trimmed) == 1 {
		if name, n := symbolName(trimmed, text[end:]); n > 0 {
			a.emit(token{term: name, raw: name, kind: kindWord, caps: true})
			a.pos++
			return end + n
		}
	}
	parts := identifierParts(trimmed)
	if len(parts) <= 1 {
		a.plain(trimmed, kindWord)
		a.join(text[:start])
		a.pos++
		return end
	}
	lower := strings.ToLower(trimmed)
	whole := strings.Trim(joinTerm(lower), "_")
	if len(whole) <= maxTerm {
		a.emit(token{term: whole, raw: whole, kind: kindIdentifier})
	}
	// "fail-over" is also found as "failover".
	if len(parts) == 2 && strings.Count(lower, "-") == 1 && len(lower) == len(parts[0])+len(parts[1])+1 {
		a.plain(parts[0]+parts[1], kindPart)
	}
	for _, p := range parts {
		a.plain(p, kindPart)
		a.pos++
	}
	return end
}

// join emits a verb and its particle, the last two words, as one word too.
func (a *analyser) join(before string) {
	n := len(a.out)
	if n < 2 || a.lang != langEnglish || !strings.HasSuffix(before, " ") || strings.HasSuffix(before, "  ") {
		return
	}
	verb, particle := a.out[n-2], a.out[n-1]
	if verb.kind != kindWord || verb.pos != a.pos-1 || !particles[particle.raw] || len(verb.raw) < 3 || stopWords[langEnglish][verb.raw] ||
		!strings.HasSuffix(before[:len(before)-1], verb.raw[len(verb.raw)-1:]) {
		return
	}
	a.plain(verb.raw+particle.raw, kindJoined)
}

// particles make one word with the verb before them in compounds such as
// backup, shutdown, timeout, login and failover.
var particles = wordSet("up down out in on off over back")

// symbolName spells out what a letter and the signs after it name.
func symbolName(letter, rest string) (string, int) {
	after := func(n int) bool {
		r, _ := utf8.DecodeRuneInString(rest[n:])
		return n == len(rest) || scriptOf(r) == scriptNone && r != '+' && r != '#'
	}
	l := strings.ToLower(letter)
	switch {
	case strings.HasPrefix(rest, "++") && after(2):
		return l + "pp", 2
	case strings.HasPrefix(rest, "#") && after(1):
		return l + "sharp", 1
	}
	return "", 0
}

// joinTerm writes every joint as an underscore and drops what is empty.
func joinTerm(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' {
			return '_'
		}
		return r
	}, s)
}

// identifierParts cuts at joints, and at a capital after a small letter in
// names that begin small (maxAttempts) or have three humps.
func identifierParts(word string) []string {
	var parts []string
	for _, p := range strings.FieldsFunc(word, func(r rune) bool { return r == '_' || r == '.' || r == '-' }) {
		humps := camelParts(p)
		first, _ := utf8.DecodeRuneInString(p)
		if len(humps) > 1 && (unicode.IsLower(first) || len(humps) > 2) {
			parts = append(parts, humps...)
		} else {
			parts = append(parts, p)
		}
	}
	return parts
}

func camelParts(s string) []string {
	var parts []string
	start := 0
	prevLower := false
	for i, r := range s {
		if unicode.IsUpper(r) && prevLower {
			parts = append(parts, s[start:i])
			start = i
		}
		prevLower = unicode.IsLower(r)
	}
	return append(parts, s[start:])
}

// plain emits one word in its stemmed form, at the current position.
func (a *analyser) plain(word string, k kind) {
	lower := strings.ToLower(word)
	if len(lower) > maxTerm {
		return
	}
	first, _ := utf8.DecodeRuneInString(word)
	a.emit(token{term: a.stem(lower, a.lang), raw: lower, kind: k, caps: unicode.IsUpper(first)})
}

func (a *analyser) emit(t token) {
	t.pos = a.pos
	if t.term != "" {
		a.out = append(a.out, t)
	}
}

// run emits the tokens of a run of characters that are not set apart by spaces.
func (a *analyser) run(text string, class script) {
	chars := []rune(strings.ToLower(text))
	switch class {
	case scriptHangul:
		a.hangul(chars)
	case scriptUnspaced:
		a.grams(chars, 3, func([]rune) kind { return kindTriple })
	default:
		a.katakanaWords(chars)
		a.grams(chars, 2, pairKind)
	}
}

// grams emits the overlapping groups of n characters; a shorter run is emitted
// as it is.
func (a *analyser) grams(chars []rune, n int, kindOf func([]rune) kind) {
	if len(chars) < n {
		a.emit(token{term: string(chars), kind: kindSingle})
		a.pos++
		return
	}
	for i := 0; i+n <= len(chars); i++ {
		g := chars[i : i+n]
		a.emit(token{term: string(g), kind: kindOf(g)})
		a.pos++
	}
	a.pos++ // the run's last character
}

func pairKind(g []rune) kind {
	l, r := scriptOf(g[0]), scriptOf(g[1])
	switch {
	case l != r:
		return kindMixed
	case l == scriptHan:
		return kindHan
	case l == scriptKatakana:
		return kindKatakana2
	}
	return kindHiragana
}

// katakanaWords emits the katakana runs of two characters or more as words; the
// long-vowel mark at the end, which writers set or leave out, does not count.
func (a *analyser) katakanaWords(chars []rune) {
	base := a.pos
	for i := 0; i < len(chars); {
		if scriptOf(chars[i]) != scriptKatakana {
			i++
			continue
		}
		end := i
		for end < len(chars) && scriptOf(chars[end]) == scriptKatakana {
			end++
		}
		word := strings.TrimRight(string(chars[i:end]), "ー")
		if utf8.RuneCountInString(word) >= 2 && len(word) <= maxTerm {
			a.pos = base + i
			a.emit(token{term: word, raw: word, kind: kindKatakana})
		}
		i = end
	}
	a.pos = base
}

// hangul emits the pairs of one word, those of its stem apart from those that
// touch a particle or ending, and a stem of one syllable by itself.
func (a *analyser) hangul(chars []rune) {
	stem := hangulStem(chars)
	if len(chars) == 1 {
		a.emit(token{term: string(chars), kind: kindSingle})
		a.pos += 2
		return
	}
	if stem == 1 {
		a.emit(token{term: string(chars[:1]), kind: kindSingle})
	}
	for i := 0; i+2 <= len(chars); i++ {
		k := kindHangul
		if i+2 > stem {
			k = kindHangulEnd
		}
		a.emit(token{term: string(chars[i : i+2]), kind: k})
		a.pos++
	}
	a.pos++
}
