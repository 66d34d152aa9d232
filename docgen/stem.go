package docgen

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kljensen/snowball/english"
	"github.com/kljensen/snowball/french"
	"github.com/kljensen/snowball/hungarian"
	"github.com/kljensen/snowball/norwegian"
	"github.com/kljensen/snowball/russian"
	"github.com/kljensen/snowball/spanish"
	"github.com/kljensen/snowball/swedish"
	"golang.org/x/text/unicode/norm"
)

// language is the two-letter code of a language with a stemmer or stop words.
type language string

// The default holds for code, for unknown languages and inside East Asian text.
const langEnglish language = "en"

// stem returns the stem of a word in lower case, without marks on Latin
// letters, so that "Überwachung" is found by "uberwachung".
func (a *analyser) stem(word string, lang language) string {
	key := string(lang) + "\x00" + word
	if s, ok := a.stems[key]; ok {
		return s
	}
	s := stemWord(word, lang)
	if len(a.stems) > 1<<17 { // bounded: a long run over a large tree
		clear(a.stems)
	}
	a.stems[strings.Clone(key)] = s
	return s
}

func stemWord(word string, lang language) string {
	latin, cyrillic, digit := false, false, false
	for _, r := range word {
		switch {
		case unicode.IsDigit(r):
			digit = true
		case unicode.Is(unicode.Latin, r):
			latin = true
		case unicode.Is(unicode.Cyrillic, r):
			cyrillic = true
		}
	}
	if digit {
		return foldMarks(word)
	}
	switch {
	case cyrillic:
		// The Russian stemmer holds for its neighbours well enough.
		return strings.ReplaceAll(russian.Stem(word, true), "ё", "е")
	case latin:
		return foldMarks(stemLatin(word, lang))
	}
	return word
}

func stemLatin(word string, lang language) string {
	switch lang {
	case "fr":
		return french.Stem(word, true)
	case "es":
		return spanish.Stem(word, true)
	case "sv":
		return swedish.Stem(word, true)
	case "no":
		return norwegian.Stem(word, true)
	case "hu":
		return hungarian.Stem(word, true)
	case "de":
		return stemGerman(word)
	}
	if endings, ok := lightEndings[lang]; ok {
		return stripEnding(word, endings, 3)
	}
	if utf8.RuneCountInString(word) < len(word) {
		return word // the English rules know a-z only
	}
	return english.Stem(american(word), true)
}

// american spells -ise as -ize and -our as -or, so that both spellings meet.
// Words that are never spelt so change alike on both sides.
func american(word string) string {
	for _, e := range []struct{ british, american string }{
		{"ise", "ize"}, {"ised", "ized"}, {"ises", "izes"}, {"ising", "izing"}, {"iser", "izer"}, {"isation", "ization"}, {"isations", "izations"},
		{"our", "or"}, {"ours", "ors"}, {"oured", "ored"}, {"ouring", "oring"},
	} {
		if rest, ok := strings.CutSuffix(word, e.british); ok && len(rest) >= 3 {
			return rest + e.american
		}
	}
	return word
}

// lightEndings has, for languages without a Snowball stemmer here, the endings
// of number, gender and case, longest first. This is the light kind of stemming
// (Savoy, "Light Stemming Approaches", 2006): it joins the forms of a noun and
// leaves derivation alone.
var lightEndings = map[language][]string{
	"it": {"azioni", "azione", "mente", "are", "ere", "ire", "ato", "ata", "ati", "ate", "he", "hi", "a", "e", "i", "o"},
	"pt": {"ações", "ação", "mente", "ando", "endo", "indo", "ões", "ães", "ado", "ada", "ar", "er", "ir", "os", "as", "es", "ão", "s", "a", "e", "o"},
	"nl": {"heden", "ingen", "ing", "en", "es", "s", "e"},
	"pl": {"ami", "ach", "owi", "ego", "emu", "ów", "om", "ie", "ia", "em", "a", "e", "i", "o", "u", "y", "ą", "ę"},
	"tr": {"larını", "lerini", "ların", "lerin", "ları", "leri", "lar", "ler", "ını", "ini", "dan", "den", "nın", "nin", "da", "de", "ı", "i", "u", "ü", "a", "e"},
}

func stripEnding(word string, endings []string, keep int) string {
	for _, e := range endings {
		if rest, ok := strings.CutSuffix(word, e); ok && utf8.RuneCountInString(rest) >= keep {
			return rest
		}
	}
	return word
}

// stemGerman follows CISTEM (Weissweiler, Fraser, "Developing a Stemmer for
// German Based on a Comparative Analysis of Publicly Available Stemmers", 2017)
// in its case-insensitive form: strip the endings e, s, n, t, em, er, nd again
// and again while enough of the word is left. Doubled letters count as one here.
//
// CISTEM leaves "er" on words of five letters; where an umlaut marks the plural,
// as in Räder and Bäder, it goes.
func stemGerman(word string) string {
	if rest, ok := strings.CutSuffix(word, "er"); ok && utf8.RuneCountInString(word) == 5 && strings.ContainsAny(rest, "äöü") && word != "väter" {
		word = rest
	}
	word = strings.NewReplacer("ä", "a", "ö", "o", "ü", "u", "ß", "ss").Replace(word)
	if len(word) > 9 { // Wiederherstellung, wiederherstellen
		word = strings.TrimSuffix(strings.TrimSuffix(word, "en"), "ung")
	}
	if strings.HasPrefix(word, "ge") && len(word) > 6 {
		word = word[2:]
	}
	for len(word) > 3 {
		rest, ok := word, false
		if len(word) > 5 {
			for _, e := range []string{"em", "er", "nd"} {
				if rest, ok = strings.CutSuffix(word, e); ok {
					break
				}
			}
		}
		if !ok {
			for _, e := range []string{"e", "s", "n", "t"} {
				if rest, ok = strings.CutSuffix(word, e); ok {
					break
				}
			}
		}
		if !ok {
			break
		}
		word = rest
	}
	return word
}

// foldMarks takes the accents off Latin letters.
func foldMarks(s string) string {
	ascii := true
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return s
	}
	var b strings.Builder
	for _, r := range norm.NFD.String(s) {
		switch {
		case 0x0300 <= r && r <= 0x036f:
		case r == 'ß':
			b.WriteString("ss")
		case r == 'ø':
			b.WriteByte('o')
		case r == 'ł':
			b.WriteByte('l')
		case r == 'ı':
			b.WriteByte('i')
		default:
			b.WriteRune(r)
		}
	}
	return norm.NFC.String(b.String())
}

// hangulEndings are particles and verb endings; longer ones are tried first.
var hangulEndings = func() [][]rune {
	list := strings.Fields(`했습니다 하였습니다 됩니까 합니까 입니까 습니까 으로부터 에서부터
하려면 하나요 할까요 되나요 됩니다 합니다 입니다 습니다 인가요 에서는 에서도 으로는 으로도 으로써 이라는 라고는 에게서 했을 됐을 되었 하였
하면 하는 하고 하기 하여 해서 해야 하지 한가요 한지 었어요 았어요 했어요 됐어요 렸어요 어요 아요 나요 은가요 는가요 려면 는지 은지 했다 한다 되면 되는 되어 돼요 되지 된다 이란 라는 이나 이며 까지 부터 에서 에게 한테 으로 처럼 보다 마다 라도 조차 에는 에도 와는 과는 으면 이면
은 는 이 가 을 를 에 의 와 과 도 만 로 나 한 할 함 해 된 될 면`)
	slices.SortStableFunc(list, func(a, b string) int { return len(b) - len(a) })
	out := make([][]rune, len(list))
	for i, e := range list {
		out[i] = []rune(e)
	}
	return out
}()

// hangulStem returns how many syllables of a word come before its particle or
// ending.
func hangulStem(word []rune) int {
	for _, e := range hangulEndings {
		if n := len(word) - len(e); n >= 1 && string(word[n:]) == string(e) {
			return n
		}
	}
	return len(word)
}
