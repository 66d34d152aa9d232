package docgen

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	candidates = 50  // sections ranked anew
	k1         = 1.2 // how soon a repeated word stops counting
	nearWeight = 0.3
	fileBonus  = 0.15
	// listingFactor holds for files that only list what is said elsewhere.
	listingFactor = 0.5
)

// fields of a section, in the order of the index's columns.
const (
	fieldTitle = iota
	fieldHeadings
	fieldBody
	fieldCode
	fieldCount
)

var (
	fieldWeights = [fieldCount]float64{4, 3, 1, 0.7}
	fieldLengthB = [fieldCount]float64{0.3, 0.3, 0.75, 0.75}
)

// passage is a section found for a question.
type passage struct {
	section
	file  fileInfo
	row   int64
	score float64
	// What decides whether there is an answer: the share of the question's
	// weight that the section has, that its headings have, how firmly it has
	// it, and how near together.
	coverage, headingCoverage, strength, nearness float64
	named                                         float64 // how much of its heading, or of its file's title, the question has

	terms   map[string]bool // all terms, to tell near duplicates
	lengths [fieldCount]float64
	counts  []([fieldCount]float64) // by concept
	places  [][]int                 // by concept: positions in the text
}

// fileInfo is what is known of a passage's file.
type fileInfo struct {
	id    int64
	path  string // in the documents folder
	title string
	lang  language
	refs  map[string]string
}

// find returns the sections for a question, the best first, without near
// duplicates.
func (x *index) find(ctx context.Context, q *query) ([]passage, error) {
	ids, err := x.search(ctx, q.terms(), candidates)
	if err != nil {
		return nil, err
	}
	found, err := x.passages(ctx, "s.id IN ("+joinIDs(ids)+")")
	if err != nil {
		return nil, err
	}
	a := newAnalyser()
	for i := range found {
		found[i].measure(a, q)
	}
	rank(found, q)
	return withoutDuplicates(found), nil
}

const passageColumns = `s.id, s.position, s.level, s.part, s.heading, s.parents, s.anchor, s.body, f.id, f.path, f.title, f.lang, f.refs`

func scanPassage(row *sql.Rows) (passage, error) {
	var p passage
	var parents, refs string
	err := row.Scan(&p.row, &p.position, &p.level, &p.part, &p.heading, &parents, &p.anchor, &p.body,
		&p.file.id, &p.file.path, &p.file.title, &p.file.lang, &refs)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal([]byte(parents), &p.parents); err != nil {
		return p, err
	}
	return p, json.Unmarshal([]byte(refs), &p.file.refs)
}

func joinIDs(ids []int64) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(id, 10))
	}
	return b.String()
}

// fileSections returns all sections of a file in their order.
func (x *index) fileSections(ctx context.Context, file int64) ([]passage, error) {
	return x.passages(ctx, "f.id = "+strconv.FormatInt(file, 10))
}

// passages returns the sections that a condition holds for, by file and order.
func (x *index) passages(ctx context.Context, where string) ([]passage, error) {
	rows, err := x.db.QueryContext(ctx, "SELECT "+passageColumns+" FROM sections s JOIN files f ON f.id = s.file WHERE "+where+" ORDER BY f.id, s.position")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []passage
	for rows.Next() {
		p, err := scanPassage(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, rows.Err()
}

// measure analyses a section and counts what it has of each concept.
func (p *passage) measure(a *analyser, q *query) {
	p.terms = map[string]bool{}
	p.counts = make([][fieldCount]float64, len(q.concepts))
	p.places = make([][]int, len(q.concepts))
	wanted := map[string][]int{}
	for i, c := range q.concepts {
		for _, t := range c.terms {
			wanted[t] = append(wanted[t], i)
		}
	}
	for _, text := range []string{p.heading, p.file.title} {
		tokens, has := a.analyse(text, p.file.lang), 0
		for _, t := range tokens {
			if len(wanted[t.term]) > 0 {
				has++
			}
		}
		p.named = max(p.named, float64(has)/float64(max(1, len(tokens))))
	}
	prose, code := proseAndCode(p.body)
	if q.text != "" {
		code = strings.ReplaceAll(code, q.text, " ") // how to ask something is no answer to it
	}
	fields := [fieldCount]string{
		p.file.title + " \n " + titleFromName(p.file.path) + " \n " + path.Base(path.Dir(p.file.path)),
		strings.Join(append(p.parents[:len(p.parents):len(p.parents)], p.heading), " \n "),
		prose, code,
	}
	base := 0
	for f, text := range fields {
		lang := p.file.lang
		if f == fieldCode {
			lang = langEnglish
		}
		last := 0
		for _, t := range a.analyse(text, lang) {
			p.lengths[f]++
			if f >= fieldHeadings {
				p.terms[t.term] = true
			}
			for _, i := range wanted[t.term] {
				p.counts[i][f]++
				p.places[i] = append(p.places[i], base+t.pos)
			}
			last = t.pos
		}
		base += last + 50 // fields are not near each other
	}
}

// rank gives each section its score and sorts them.
func rank(found []passage, q *query) {
	var mean [fieldCount]float64
	for i := range found {
		for f := range mean {
			mean[f] += found[i].lengths[f] / float64(len(found))
		}
	}
	for i := range found {
		found[i].rate(q, mean)
	}
	order := func(a, b passage) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.file.path, b.file.path), cmp.Compare(a.position, b.position))
	}
	slices.SortFunc(found, order)
	// A file with several good sections is more likely about the question.
	best := map[int64]float64{}
	others := map[int64]float64{}
	for _, p := range found {
		if _, ok := best[p.file.id]; !ok {
			best[p.file.id] = p.score
			continue
		}
		if others[p.file.id] < p.score {
			others[p.file.id] = p.score
		}
	}
	for i := range found {
		p := &found[i]
		other := best[p.file.id]
		if p.score == other {
			other = others[p.file.id]
		}
		p.score += fileBonus * min(other, p.score)
	}
	slices.SortFunc(found, order)
}

// rate computes BM25F over the fields, nearness and coverage.
func (p *passage) rate(q *query, mean [fieldCount]float64) {
	var score, covered, matched, inHeading, firm float64
	for i, c := range q.concepts {
		tf := 0.0
		for f, n := range p.counts[i] {
			if n > 0 {
				tf += fieldWeights[f] * n / (1 - fieldLengthB[f] + fieldLengthB[f]*p.lengths[f]/mean[f])
			}
		}
		if tf == 0 {
			continue
		}
		score += c.weight * c.credit * tf * (k1 + 1) / (tf + k1)
		covered += c.weight * c.credit
		share := c.share * c.credit
		matched += share
		if p.counts[i][fieldTitle]+p.counts[i][fieldHeadings] > 0 {
			inHeading += share
			firm += share
		} else {
			firm += share * (1 - math.Pow(0.5, p.counts[i][fieldBody]+p.counts[i][fieldCode]))
		}
	}
	if q.total > 0 {
		covered /= q.total
		p.coverage, p.headingCoverage, p.strength = matched/q.shares, inHeading/q.shares, firm/q.shares
	}
	p.nearness = p.near(q)
	p.score = score * (1 + nearWeight*p.nearness) * covered
	if listing(p.file.path) {
		p.score *= listingFactor
	}
}

// near is how close together the section has what stands together in the
// question, from 0 to 1, by weight.
func (p *passage) near(q *query) float64 {
	var sum, total float64
	for i := 1; i < len(q.concepts); i++ {
		l, r := &q.concepts[i-1], &q.concepts[i]
		w := min(l.weight, r.weight)
		total += w
		if d := distance(p.places[i-1], p.places[i]); d >= 0 {
			sum += w * 4 / float64(3+max(d, 1))
		}
	}
	if total == 0 {
		return 0
	}
	return min(1, sum/total)
}

// distance is the smallest one between two ascending lists of positions, -1 if
// there is none within 20.
func distance(a, b []int) int {
	best := 21
	for i, j := 0, 0; i < len(a) && j < len(b); {
		d := a[i] - b[j]
		if d < 0 {
			best = min(best, -d)
			i++
		} else {
			best = min(best, d)
			j++
		}
	}
	if best > 20 {
		return -1
	}
	return best
}

// listing reports whether a file only lists what is said elsewhere.
func listing(p string) bool {
	name := strings.ToLower(strings.TrimSuffix(path.Base(p), path.Ext(p)))
	for _, s := range []string{"changelog", "changes", "history", "release", "news", "summary", "toc", "contents", "authors"} {
		if name == s || strings.HasPrefix(name, s+"-") || strings.HasPrefix(name, s+"_") || strings.HasPrefix(name, s+"s") {
			return true
		}
	}
	dir := strings.ToLower(path.Dir(p))
	return strings.Contains(dir, "changelog") || strings.Contains(dir, "release-notes") || strings.Contains(dir, "releases")
}

// withoutDuplicates drops sections that say what a better one says: copies, and
// the same page of another version.
func withoutDuplicates(found []passage) []passage {
	kept := found[:0]
	for _, p := range found {
		copied := slices.ContainsFunc(kept, func(k passage) bool { return nearDuplicate(k.terms, p.terms) })
		if !copied {
			kept = append(kept, p)
		}
	}
	return kept
}

func nearDuplicate(a, b map[string]bool) bool {
	small, large := a, b
	if len(small) > len(large) {
		small, large = large, small
	}
	if len(small) < 5 || len(small)*2 < len(large) {
		return false
	}
	shared := 0
	for t := range small {
		if large[t] {
			shared++
		}
	}
	return float64(shared) >= 0.8*float64(len(small)) && float64(shared) >= 0.5*float64(len(large))
}

// answerable decides whether the documents are about the question, by how much
// of its weight the best sections cover. Among few sections that is nearly enough:
// chance matches are rare, and one file's sections may answer together; a heading
// that the question has as a whole counts too. Among
// many, chance finds any two words somewhere, so it also counts how firmly, how
// near together and whether in a heading.
func answerable(found []passage, q *query) bool {
	if len(found) == 0 {
		return false
	}
	var coverage, heading, named, strength, near float64
	top := found[:min(3, len(found))]
	for i := range top {
		p := &top[i]
		f := 1.0
		if listing(p.file.path) && p.headingCoverage < 0.5 {
			f = listingFactor
		}
		coverage, heading = max(coverage, f*p.coverage), max(heading, f*p.headingCoverage)
		named = max(named, f*p.headingCoverage*p.named)
		strength, near = max(strength, f*p.strength), max(near, f*p.nearness)
	}
	malus := 1.0
	if q.nameless {
		malus = absentNameMalus
	}
	if q.sections < background {
		return malus*(max(coverage, togetherFactor*together(top, q))+headingBonus*named) >= minCoverage
	}
	return malus*(0.45*coverage+0.25*strength+0.15*heading+0.15*near) >= minRelevance
}

const (
	minCoverage    = 0.52
	headingBonus   = 0.15
	minRelevance   = 0.45
	togetherFactor = 0.85
)

// together is the coverage of those of the top sections that are in the file of
// the first.
func together(top []passage, q *query) float64 {
	var matched float64
	for i, c := range q.concepts {
		for j := range top {
			if top[j].file.id == top[0].file.id && top[j].counts[i] != [fieldCount]float64{} {
				matched += c.share * c.credit
				break
			}
		}
	}
	return matched / max(q.shares, 1e-9)
}
