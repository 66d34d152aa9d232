package docgen

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// A word that the documents do not have may be there in another form: derived
// ("recover", "recovery"), as a part of a compound, or, in German and Dutch,
// with its prefix put back ("halte … an", "anhalten").

const (
	minCompound     = 4 // in a language that writes compounds as one word
	minRelative     = 5 // characters that related words share at least
	derivedBy       = 3 // characters that an English one may have more or less
	compoundBy      = 8 // characters that one in another language may have more
	minCompoundHead = 6
	minPart         = 4 // of a compound in a question, its first part
)

// compounding are the languages that write compounds as one word.
var compounding = map[language]bool{"de": true, "nl": true, "sv": true, "no": true, "hu": true}

// derivations are what may follow the stem of an English word in a related one,
// as the stemmer leaves it: recov-eri, invest-or.
var derivations = wordSet("i y e er eri or ori ion ment abl al iv iti ant ent anc enc")

// separable are the prefixes that stand apart from German and Dutch verbs.
var separable = map[language]map[string]bool{
	"de": wordSet("ab an auf aus bei ein fest frei her hin hinzu los mit nach um vor weg weiter wieder zu zuruck zurück zusammen"),
	"nl": wordSet("aan af bij door in mee na om op over terug toe uit voor weg"),
}

// separable adds to the forms of a verb those with a prefix that stands apart
// from it, further on in the question.
func (b *queryBuilder) separable(t token, after []token, forms []string) []string {
	prefixes := separable[b.lang]
	if prefixes == nil || t.kind != kindWord {
		return forms
	}
	for _, p := range detached(after, prefixes) {
		if s := b.analyser.stem(p+t.raw, b.lang); !slices.Contains(forms, s) && b.count([]string{s}) > 0 {
			return append(forms, s)
		}
	}
	return forms
}

// relatives adds to the forms of an absent word those of its relatives that the
// documents have.
func (b *queryBuilder) relatives(t token, forms []string) []string {
	more, head := derivedBy, compounding[b.lang]
	if head {
		more = compoundBy
	}
	// The stemmer makes overh of overheating, but overheat of overheats.
	if bare, ok := strings.CutSuffix(t.raw, "ing"); ok && len(bare) >= minRelative {
		if s := b.analyser.stem(bare, langEnglish); b.count([]string{s}) > 0 {
			forms = append(forms, s)
		}
	}
	for _, form := range slices.Clone(forms) {
		least := minRelative
		if head && b.query.sections < background {
			least = minCompound
		}
		if utf8.RuneCountInString(form) < least || b.err != nil {
			continue
		}
		longer, err := b.index.beginningWith(b.ctx, form, more)
		if b.err = err; err != nil {
			return forms
		}
		related := b.beginning(form, head)
		related = append(related, longer...)
		for _, r := range related {
			ending, longer := strings.CutPrefix(r, form)
			if !longer {
				ending = strings.TrimPrefix(form, r)
			}
			if head || b.lang != langEnglish || derivations[ending] {
				forms = append(forms, r)
			}
		}
	}
	if head && len(forms) > 0 && b.count(forms) == 0 {
		forms = append(forms, b.heads(t)...)
	}
	return forms
}

// heads returns the last part of a compound that the documents do not have, if
// they have both that and words that begin with the first part: among laundry
// rules a Waschtermin is a Termin, and a Zahnarzttermin is none.
func (b *queryBuilder) heads(t token) []string {
	word := []rune(t.raw)
	for at := minPart; at+minCompound <= len(word); at++ {
		last := b.analyser.stem(string(word[at:]), b.lang)
		if utf8.RuneCountInString(last) < minCompound || b.count([]string{last}) == 0 {
			continue
		}
		for _, first := range []string{string(word[:at]), strings.TrimSuffix(string(word[:at]), "s")} {
			first = b.analyser.stem(first, b.lang)
			if utf8.RuneCountInString(first) < minPart {
				continue
			}
			longer, err := b.index.beginningWith(b.ctx, first, compoundBy+minCompound)
			if b.err = cmp.Or(b.err, err); b.err != nil {
				return nil
			}
			if len(longer) > 0 || b.count([]string{first}) > 0 {
				return []string{last}
			}
		}
	}
	return nil
}

// attributive reports whether a German word is a participle that says what a thing
// is like, as in "ein gebrauchtes Rad": it has the ending of an adjective.
func attributive(word string) bool {
	bare := strings.TrimRight(word, "srmn")
	rest, ok := strings.CutSuffix(bare, "e")
	return ok && strings.HasPrefix(rest, "ge") && len(rest) > 6 && (strings.HasSuffix(rest, "t") || strings.HasSuffix(rest, "en"))
}

// beginning returns the longest word of the documents that a form begins with.
// Unless the word may be the head of a compound it is nearly as long.
func (b *queryBuilder) beginning(form string, head bool) []string {
	chars := []rune(form)
	shortest := max(minRelative, len(chars)-derivedBy)
	if head {
		shortest = min(shortest, max(minCompoundHead, (len(chars)+1)/2))
	}
	for n := len(chars) - 1; n >= shortest; n-- {
		if s := string(chars[:n]); b.count([]string{s}) > 0 {
			return []string{s}
		}
	}
	return nil
}

// detached returns the prefixes among the tokens, those that follow each other
// joined first: "wieder her" is "wiederher", then "her" and "wieder".
func detached(tokens []token, prefixes map[string]bool) []string {
	var out []string
	for i := len(tokens) - 1; i >= 0; i-- {
		if !prefixes[tokens[i].raw] {
			continue
		}
		if i > 0 && prefixes[tokens[i-1].raw] {
			out = append(out, tokens[i-1].raw+tokens[i].raw)
		}
		out = append(out, tokens[i].raw)
	}
	return out
}

// hangulWord puts the word together that token i is a pair of.
func hangulWord(tokens []token, i int) string {
	pair := func(j int) bool { return tokens[j].kind == kindHangul || tokens[j].kind == kindHangulEnd }
	first := i
	for first > 0 && pair(first-1) && tokens[first-1].pos == tokens[first].pos-1 {
		first--
	}
	var word strings.Builder
	word.WriteString(tokens[first].term)
	for j := first + 1; j < len(tokens) && pair(j) && tokens[j].pos == tokens[j-1].pos+1; j++ {
		_, size := utf8.DecodeLastRuneInString(tokens[j].term)
		word.WriteString(tokens[j].term[len(tokens[j].term)-size:])
	}
	return word.String()
}

// hangulAsks reports whether a word only makes a sentence a question.
func hangulAsks(word string) bool {
	for _, s := range hangulStop {
		if rest, ok := strings.CutPrefix(word, s); ok && utf8.RuneCountInString(rest) <= 3 {
			return true
		}
	}
	return false
}

// hangulVerb reports whether a word ends as verbs do at the end of a sentence
// or clause.
func hangulVerb(word string) bool {
	for _, e := range []string{"요", "까", "다", "면", "려고", "어서", "아서", "지만", "는데", "나", "서"} {
		if strings.HasSuffix(word, e) {
			return true
		}
	}
	return false
}

// askers are the words that a verb follows in a question.
var askers = map[language]map[string]bool{
	"de": wordSet("wie"), "fr": wordSet("comment"), "es": wordSet("como cómo"), "pt": wordSet("como"), "it": wordSet("come"), "nl": wordSet("hoe"),
	"ru": wordSet("как"), "pl": wordSet("jak"), "tr": wordSet("nasıl"), "sv": wordSet("hur"), "no": wordSet("hvordan"), "hu": wordSet("hogyan"),
}

var (
	englishAux     = wordSet("do does did can could should would will must may might shall")
	englishSubject = wordSet("i you we one they it he she")
	beforeTo       = wordSet("how need want wants have has able possible way ways like trying try going what where when best")
)

// verbAt reports whether the word at i is the verb of a question, by the words
// before it: "how do I VERB", "how to VERB", "comment VERB".
func (b *queryBuilder) verbAt(tokens []token, i int) bool {
	if i == 0 || tokens[i].kind != kindWord {
		return false
	}
	before := tokens[i-1].raw
	if b.lang != langEnglish {
		return askers[b.lang][before]
	}
	if i == 1 {
		return false
	}
	return englishSubject[before] && englishAux[tokens[i-2].raw] || before == "to" && beforeTo[tokens[i-2].raw]
}

// modals are the words that an infinitive or participle follows, at once or
// behind a pronoun; subjects are those pronouns.
var modals = map[language]map[string]bool{
	"fr": wordSet("où comment peut peux peuvent puis pouvons doit dois doivent faut faudrait veux veut voudrais est sont être pour sans a ont"),
	"es": wordSet("cómo dónde puede pueden puedo podemos debe deben debo hay que quiero es son está están ser se para sin hago"),
	"pt": wordSet("como onde pode podem posso podemos deve devem devo que quero é são está estão ser se para sem preciso"),
	"it": wordSet("come dove può possono posso possiamo deve devono devo bisogna voglio è sono essere si per senza"),
	"nl": wordSet("te"),
}

var subjects = map[language]map[string]bool{
	"fr": wordSet("on je tu il elle nous vous ils elles t y se s ne n pas me m"), "es": wordSet("se lo la me no"), "pt": wordSet("se eu não"), "it": wordSet("si io non"),
}

// verbEndings are those of infinitives and participles.
var verbEndings = map[language][]string{
	"fr": {"er", "ir", "re", "oir", "é", "ée", "és", "ées", "i", "ie", "is", "ies", "u", "ue", "us", "ues", "te", "tes"},
	"es": {"ar", "er", "ir", "arse", "erse", "irse", "arlo", "arla", "ado", "ada", "ados", "adas", "ido", "ida", "idos", "idas", "a", "e", "an", "en"},
	"pt": {"ar", "er", "ir", "ado", "ada", "ados", "adas", "ido", "ida", "idos", "idas", "a", "e", "am", "em"},
	"it": {"are", "ere", "ire", "arsi", "ersi", "irsi", "ato", "ata", "ati", "ate", "uto", "uta", "uti", "ute", "ito", "ita", "iti", "ite", "a", "e", "ano", "ono"},
}

// laterVerb reports whether the word at i is a verb by the words before it in a
// way that verbAt does not see: passive, reflexive or behind a modal verb.
func (b *queryBuilder) laterVerb(tokens []token, i int) bool {
	if tokens[i].kind != kindWord || i == 0 {
		return false
	}
	if b.lang == langEnglish {
		return participle(tokens[i].raw) && slices.ContainsFunc(tokens[:i], func(t token) bool { return englishBe[t.raw] })
	}
	if !slices.ContainsFunc(verbEndings[b.lang], func(e string) bool { return strings.HasSuffix(tokens[i].raw, e) }) {
		return false
	}
	for j := i - 1; j >= 0; j-- {
		if t := tokens[j]; modals[b.lang][t.raw] {
			return true
		} else if !subjects[b.lang][t.raw] && t.kind != kindIdentifier {
			return false
		}
	}
	return false
}

var englishBe = wordSet("is are was were be been being get gets got")

// irregular are participles that do not end in -ed, of verbs done to things.
var irregular = wordSet(`begun bound bred broken brought built bought caught chosen cut dealt done drawn driven drunk eaten fed felt fought found frozen given ground grown
	held hidden hit hung hurt kept known laid lent lit lost made meant measured met paid put read said sold sent set sewn shown shut spent split spread sworn swept
	taken taught thought thrown told torn understood washed won worn woven written`)

func participle(word string) bool {
	return len(word) > 4 && strings.HasSuffix(word, "ed") || irregular[word]
}

// whichWords ask for what the next word names. An answer gives its value and
// need not name it: "at what temperature" is answered by "above 30 °C".
var whichWords = map[language]map[string]bool{
	langEnglish: wordSet("what which many much"),
	"de":        wordSet("welche welcher welches welchem welchen wieviel wieviele viele viel"),
	"fr":        wordSet("quel quelle quels quelles"), "es": wordSet("qué que cuál cuánto cuánta cuántos cuántas"),
	"it": wordSet("quale quali che quanto quanta quanti quante"), "pt": wordSet("qual quais que quanto quanta quantos quantas"), "nl": wordSet("welk welke hoeveel"),
}

func (b *queryBuilder) askedFor(tokens []token, i int) bool {
	return i > 0 && i+1 < len(tokens) && tokens[i].kind == kindWord && whichWords[b.lang][tokens[i-1].raw]
}

var japaneseVerb = regexp.MustCompile(`(\p{Han}{2,4})(?:する|した|して|しま|しな|でき|され|せず)`)

// japaneseVerbs returns the nouns of a question that する makes verbs of.
func japaneseVerbs(question string) []string {
	var verbs []string
	for _, m := range japaneseVerb.FindAllStringSubmatch(question, -1) {
		verbs = append(verbs, m[1])
	}
	return verbs
}

// perPair spreads the weight of a run of characters over its pairs: a run is
// taken to hold half as many words as characters.
func perPair(tokens []token, i int) float64 {
	first, last := i, i
	for first > 0 && isPair(tokens[first-1].kind) && tokens[first-1].pos == tokens[first].pos-1 {
		first--
	}
	for last+1 < len(tokens) && isPair(tokens[last+1].kind) && tokens[last+1].pos == tokens[last].pos+1 {
		last++
	}
	pairs := float64(last - first + 1)
	return (pairs + 1) / 2 / pairs
}
