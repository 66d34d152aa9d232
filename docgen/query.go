package docgen

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kljensen/snowball/english"
)

// kindWeights say how much a term tells by its kind, before its rarity. Single
// pairs of characters tell less than words: several of them make one.
var kindWeights = [...]float64{
	kindWord: 1, kindIdentifier: 1.2, kindPart: 1, kindJoined: 1, kindKatakana: 1, kindHan: 0.9, kindMixed: 0.4, kindSingle: 0.3,
	kindKatakana2: 0.15, kindHiragana: 0.1, kindHangul: 0.8, kindHangulEnd: 0.08, kindTriple: 0.4,
}

const (
	everydayWeight  = 0.25 // of words that go with any subject, among few sections
	commonWeight    = 0.35 // of words that stand in almost any text
	partOfWhole     = 0.25 // of the parts of an identifier that the documents have as a whole
	exactFactor     = 2    // of an identifier that the documents have, among few sections
	verbWeight      = 0.5  // of verbs, which people exchange more freely than nouns
	functionPair    = 0.15 // of pairs with a Chinese function character
	plainRarity     = 5    // of every word, as far as the sections are too few to tell
	background      = 200  // sections that every collection is thought to have besides its own
	maxConcepts     = 96
	maxQuestionLen  = 1000 // characters
	absentNameMalus = 0.6
)

// functionChars make a pair of Han characters unlikely to be a word of its own
// when the documents do not have it.
const functionChars = "在会是把被时后前与和及或对从向为以将能不也都就还让用有没这那哪个其会時後與對從為將還讓個沒這"

// concept is one thing a question asks for: a word in the forms it may have in
// the documents, an identifier, a pair of characters.
type concept struct {
	terms  []string // any of them is a match
	kind   kind
	pos    int
	weight float64 // kind × rarity, for ranking
	share  float64 // weight for the decision, less of it rarity the fewer sections there are
	credit float64 // how much of the weight a match brings, 0 to 1
	found  int     // sections that have it
	name   bool    // a capitalised word, not the first of a sentence
}

// query is a question, analysed.
type query struct {
	text     string // on one line
	concepts []concept
	total    float64 // the weight of all concepts
	shares   float64 // their weight for the decision
	sections int     // in the index
	nameless bool    // a name in the question is not in the documents
}

// enoughRows bounds how many sections the index has to score for a question.
const enoughRows = 8000

// terms returns what to search the index for: what the documents have and that
// tells enough, the rarest first. Words that are almost everywhere are left out
// once most of the question's weight is in; ranking counts them all.
func (q *query) terms() []string {
	var heavy, light []concept
	weight := 0.0
	for _, c := range q.concepts {
		switch {
		case c.found == 0:
		case kindWeights[c.kind] > 0.2:
			heavy = append(heavy, c)
			weight += c.weight
		default:
			light = append(light, c)
		}
	}
	if len(heavy) == 0 {
		heavy = light
	}
	slices.SortStableFunc(heavy, func(a, b concept) int { return cmp.Compare(a.found, b.found) })
	var terms []string
	rows, covered := 0, 0.0
	for _, c := range heavy {
		if rows += c.found; rows > enoughRows && covered > 0.6*weight {
			break
		}
		covered += c.weight
		terms = append(terms, c.terms...)
	}
	return terms
}

// ask analyses a question against an index.
func (x *index) ask(ctx context.Context, question string) (*query, error) {
	sections, err := x.sectionCount(ctx)
	if err != nil {
		return nil, err
	}
	langs, err := x.languages(ctx)
	if err != nil {
		return nil, err
	}
	lang := languageAmong(question, langs)
	for _, l := range []language{langEnglish, lang} {
		if !slices.Contains(langs, l) {
			langs = append(langs, l)
		}
	}
	b := &queryBuilder{ctx: ctx, index: x, lang: lang, langs: langs, analyser: newAnalyser(), seen: map[string]bool{},
		query: query{text: oneLine(question), sections: sections}}
	return b.build(question)
}

type queryBuilder struct {
	ctx      context.Context
	index    *index
	lang     language
	langs    []language
	analyser *analyser
	seen     map[string]bool
	pairs    map[rune][]string // of the documents, by character; nil until needed
	query    query
	err      error
}

func (b *queryBuilder) build(question string) (*query, error) {
	tokens := slices.Clone(b.analyser.analyse(cutScaffolding(foldWidth(question)), b.lang))
	verbs := japaneseVerbs(question)
	words, capitals := 0, 0
	for _, t := range tokens {
		if t.kind == kindWord {
			words++
			if t.caps {
				capitals++
			}
		}
	}
	// German capitalises every noun, and some people every word.
	namesTell := b.lang != "de" && capitals*2 <= words+1
	// So what is small beside them is none, but a verb or an adjective.
	germanNouns := b.lang == "de" && slices.ContainsFunc(tokens, func(t token) bool { return t.caps && t.pos > 0 })
	whole := false // the identifier that the next parts belong to is in the documents
	joined := ""
	few := b.query.sections < background
	next := 0 // the first token that is not dealt with yet
	for i, t := range tokens {
		if len(b.query.concepts) == maxConcepts {
			break
		}
		if i < next {
			continue
		}
		if few && (t.kind == kindHan || t.kind == kindMixed || t.kind == kindHiragana || t.kind == kindKatakana || t.kind == kindKatakana2) {
			next = b.characters(tokens, i, verbs)
			continue
		}
		c := concept{terms: []string{t.term}, kind: t.kind, pos: t.pos}
		factor := 1.0
		switch t.kind {
		case kindIdentifier:
			joined = strings.ReplaceAll(t.raw, "_", "")
			if i+1 < len(tokens) && tokens[i+1].raw == joined {
				c.terms = b.forms(tokens[i+1], c.terms)
			}
			whole = b.count(c.terms) > 0
			if !whole {
				continue
			}
			if few {
				factor = exactFactor
			}
		case kindWord, kindPart:
			if t.kind == kindPart && t.raw == joined && t.raw != "" {
				continue
			}
			if b.stop(t) {
				continue
			}
			c.terms = b.forms(t, nil)
			c.name = namesTell && t.caps && i > 0 && t.kind == kindWord
			if t.kind == kindPart && whole {
				factor = partOfWhole
			} else if b.verbAt(tokens, i) || germanNouns && !t.caps || few && (b.laterVerb(tokens, i) || b.askedFor(tokens, i)) {
				factor = verbWeight
			}
			if few && everydayWords()[b.lang][b.analyser.stem(t.raw, b.lang)] && !(b.lang == "de" && attributive(t.raw)) {
				factor = min(factor, everydayWeight)
			}
			if b.lang == langEnglish && commonWords[english.Stem(t.raw, true)] {
				factor = min(factor, commonWeight)
			}
			if i+2 < len(tokens) && tokens[i+2].kind == kindJoined {
				if joined := b.forms(tokens[i+2], nil); b.count(joined) > 0 {
					c.terms, factor = joined, max(factor, verbWeight)
				}
			}
			c.terms = b.separable(t, tokens[i+1:], c.terms)
			if !c.name && b.count(c.terms) == 0 {
				c.terms = b.relatives(t, c.terms)
			}
		case kindJoined:
			continue // in place of its verb
		case kindSingle:
			if scriptOf(firstRune(t.term)) == scriptHiragana {
				continue // a particle that the scaffolding has left
			}
			if few && scriptOf(firstRune(t.term)) == scriptHan {
				b.characters(tokens, i, nil)
				continue
			}
		case kindHan, kindMixed:
			factor = perPair(tokens, i)
			if slices.ContainsFunc(verbs, func(v string) bool { return strings.Contains(v, t.term) }) {
				factor *= verbWeight
			}
		case kindHangul, kindHangulEnd:
			factor = perPair(tokens, i)
			word := hangulWord(tokens, i)
			switch {
			case hangulAsks(word):
				continue
			case hangulVerb(word):
				factor *= verbWeight
			}
		}
		if t.kind != kindWord && t.kind != kindPart {
			whole = whole && t.kind == kindIdentifier
		}
		b.add(c, factor)
	}
	if b.err != nil {
		return nil, b.err
	}
	b.query.concepts = dropStraddling(b.query.concepts)
	b.weigh()
	return &b.query, nil
}

// add counts a concept in the documents and keeps it, once.
func (b *queryBuilder) add(c concept, factor float64) {
	if len(c.terms) == 0 || b.seen[c.terms[0]] {
		return
	}
	b.seen[c.terms[0]] = true
	c.found = b.count(c.terms)
	if c.credit == 0 {
		c.credit = 1
	}
	c.weight = kindWeights[c.kind] * factor
	b.query.concepts = append(b.query.concepts, c)
}

// count is how many sections have one of the terms, at least.
func (b *queryBuilder) count(terms []string) int {
	most := 0
	for _, t := range terms {
		if b.err != nil {
			return 0
		}
		n, err := b.index.frequency(b.ctx, t)
		b.err = err
		most = max(most, n)
	}
	return most
}

// forms adds the stems that a word has in each language of the documents.
func (b *queryBuilder) forms(t token, forms []string) []string {
	for _, lang := range b.langs {
		if s := b.analyser.stem(t.raw, lang); s != "" && !slices.Contains(forms, s) {
			forms = append(forms, s)
		}
	}
	return forms
}

func (b *queryBuilder) stop(t token) bool {
	folded := foldMarks(t.raw)
	return stopWords[b.lang][folded] || utf8.RuneCountInString(t.raw) == 1 && (t.raw < "0" || t.raw > "9") && t.kind == kindWord && len(t.raw) == 1 && !t.caps
}

// weigh multiplies in the rarity. A word that is absent keeps the full one. How
// many sections have a word tells little where there are few of them, so the
// weights for the decision are the more alike the fewer there are.
func (b *queryBuilder) weigh() {
	q := &b.query
	n := float64(q.sections + background)
	for i := range q.concepts {
		c := &q.concepts[i]
		df := float64(c.found)
		rarity := math.Log(1 + (n-df+0.5)/(df+0.5))
		known := min(1, float64(q.sections)/background)
		c.share = c.weight * (known*rarity + (1-known)*plainRarity)
		c.weight *= rarity
		q.total += c.weight
		q.shares += c.share
		if c.name && c.found == 0 {
			q.nameless = true
		}
	}
}

// cutScaffolding removes, from a question in a language without spaces, the
// phrases that make it a question.
func cutScaffolding(text string) string {
	eastAsian := false
	for _, r := range text {
		if c := scriptOf(r); c == scriptHan || c == scriptHiragana || c == scriptKatakana {
			eastAsian = true
			break
		}
	}
	if !eastAsian {
		return text
	}
	for _, phrase := range scaffolding {
		text = strings.ReplaceAll(text, phrase, " ")
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(scaffoldChars, r) {
			return ' '
		}
		return r
	}, text)
}

// wordEnders end a Japanese word: what stands behind them begins another.
const wordEnders = "はがをにへでとのもや"

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// dropStraddling removes the pairs that the documents do not have and that only
// arise between two words, of which they have both or the first is a particle; a pair with a function character
// loses most of its weight instead. A katakana pair goes where its word is known.
func dropStraddling(concepts []concept) []concept {
	covered := map[int]bool{}
	for _, c := range concepts {
		if c.found > 0 && isPair(c.kind) {
			covered[c.pos], covered[c.pos+1] = true, true
		}
		if c.found > 0 && c.kind == kindKatakana {
			for i := range utf8.RuneCountInString(c.terms[0]) {
				covered[c.pos+i] = true
			}
		}
	}
	kept := concepts[:0]
	for _, c := range concepts {
		if c.found == 0 && isPair(c.kind) {
			if covered[c.pos] && covered[c.pos+1] || c.kind == kindMixed && strings.ContainsRune(wordEnders, firstRune(c.terms[0])) {
				continue
			}
			if c.kind == kindHan && strings.ContainsAny(c.terms[0], functionChars) {
				c.weight *= functionPair
			}
		}
		kept = append(kept, c)
	}
	return kept
}

func isPair(k kind) bool {
	return k == kindHan || k == kindMixed || k == kindHangul || k == kindHangulEnd || k == kindKatakana2
}
