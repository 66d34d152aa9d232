package docgen

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	maxPassages  = 5
	maxBody      = 16 << 10 // bytes of all passages; the first is always whole
	wholeSection = 8 << 10  // a section that was cut is put together again up to this size
	shortSection = 280      // a section with less text brings the ones below it along
	withChildren = 3 << 10  // up to this size in all
	maxTips      = 3
	maxTip       = 2500
	maxRelated   = 8
	worthShowing = 0.4 // of the best score
	worthReading = 0.6 // of the best coverage
	worthLinking = 0.12
)

// composer chooses passages and makes them fit into one document.
type composer struct {
	folder *folder
	index  *index
	query  *query
	seen   map[string]bool // blocks that the answer has
	taken  map[int64]bool  // sections that the answer has, by row
	linked []string        // documents that the passages link to
	files  map[int64][]passage
}

func newComposer(f *folder, x *index, q *query) *composer {
	return &composer{folder: f, index: x, query: q, seen: map[string]bool{}, taken: map[int64]bool{}, files: map[int64][]passage{}}
}

// material makes an answer's material of what was found, and returns the
// repository paths of the documents that it is taken from.
func (c *composer) material(ctx context.Context, question string, found []passage) (Material, []string, error) {
	chosen, err := c.choose(ctx, found)
	if err != nil {
		return Material{}, nil, err
	}
	m := Material{Question: question}
	var sources []string
	headings := map[string]bool{}
	open := map[string]int{} // level given to the sections above, by file and path
	for i := range chosen {
		p := &chosen[i]
		body := c.render(p)
		if strings.TrimSpace(body) == "" {
			continue
		}
		level := 2
		for n := len(p.parents); n > 0; n-- {
			if up, ok := open[p.file.path+"\x00"+strings.Join(p.parents[:n], "\x00")]; ok {
				level = min(6, up+1)
				break
			}
		}
		if p.heading != "" {
			open[p.file.path+"\x00"+strings.Join(append(p.parents[:len(p.parents):len(p.parents)], p.heading), "\x00")] = level
		}
		m.Passages = append(m.Passages, Passage{Heading: c.heading(p, headings), Level: level, Source: c.source(p), Body: body})
		sources = appendNew(sources, c.folder.layout.repoPath(p.file.path))
	}
	tips, err := c.tips(ctx, found, chosen)
	if err != nil {
		return Material{}, nil, err
	}
	for i := range tips {
		p := &tips[i]
		if body := c.render(p); strings.TrimSpace(body) != "" {
			m.Tips = append(m.Tips, Passage{Heading: c.heading(p, headings), Level: 3, Source: c.source(p), Body: body})
			sources = appendNew(sources, c.folder.layout.repoPath(p.file.path))
		}
	}
	if m.Related, err = c.related(ctx, found, chosen); err != nil {
		return Material{}, nil, err
	}
	return m, sources, nil
}

// choose takes the best passages, completes them, and puts them into reading
// order: files by their best passage, sections as in the file.
func (c *composer) choose(ctx context.Context, found []passage) ([]passage, error) {
	var chosen []passage
	size := 0
	for i, p := range found {
		if len(chosen) >= maxPassages || p.score < worthShowing*found[0].score || p.coverage < worthReading*found[0].coverage {
			break
		}
		// What is about troubles comes at the end, unless it is the best there is.
		if c.taken[p.row] || i > 0 && troubleshooting(&p.section) && len(p.body) <= maxTip {
			continue
		}
		whole, err := c.complete(ctx, p)
		if err != nil {
			return nil, err
		}
		n := 0
		for _, w := range whole {
			n += len(w.body)
		}
		if i > 0 && size+n > maxBody {
			continue
		}
		size += n
		for _, w := range whole {
			c.taken[w.row] = true
		}
		chosen = append(chosen, whole...)
	}
	rankOf := map[int64]int{}
	for i, p := range chosen {
		if _, ok := rankOf[p.file.id]; !ok {
			rankOf[p.file.id] = i
		}
	}
	slices.SortStableFunc(chosen, func(a, b passage) int {
		return cmp.Or(cmp.Compare(rankOf[a.file.id], rankOf[b.file.id]), cmp.Compare(a.position, b.position))
	})
	return chosen, nil
}

// complete puts the pieces of a section together again, and brings along the
// sections below one that says little itself.
func (c *composer) complete(ctx context.Context, p passage) ([]passage, error) {
	all, err := c.sections(ctx, p.file.id)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(s passage) bool { return s.row == p.row })
	if at < 0 { // replaced meanwhile
		return []passage{p}, nil
	}
	if p.part > 0 {
		first := at - (p.part - 1)
		end := at + 1
		for end < len(all) && all[end].part == all[end-1].part+1 && all[end].anchor == p.anchor {
			end++
		}
		size := 0
		for _, s := range all[first:end] {
			size += len(s.body) + 2
		}
		if size <= wholeSection {
			var bodies []string
			for _, s := range all[first:end] {
				bodies = append(bodies, s.body)
				c.taken[s.row] = true
			}
			p.body = strings.Join(bodies, "\n\n")
			p.position = all[first].position
			at = end - 1
		}
	}
	whole := []passage{p}
	if p.level == 0 || len(p.body) > shortSection {
		return whole, nil
	}
	size := len(p.body)
	for _, s := range all[at+1:] {
		if s.level <= p.level {
			break
		}
		if size += len(s.body); size > withChildren {
			break
		}
		if !c.taken[s.row] {
			whole = append(whole, s)
		}
	}
	return whole, nil
}

func (c *composer) sections(ctx context.Context, file int64) ([]passage, error) {
	if all, ok := c.files[file]; ok {
		return all, nil
	}
	all, err := c.index.fileSections(ctx, file)
	if err == nil {
		c.files[file] = all
	}
	return all, err
}

// tips are sections on troubles that have to do with the question: among those
// found, and in the files that the answer is taken from.
func (c *composer) tips(ctx context.Context, found, chosen []passage) ([]passage, error) {
	pool := slices.Clone(found)
	a := newAnalyser()
	var files []int64
	for _, p := range chosen {
		if slices.Contains(files, p.file.id) {
			continue
		}
		files = append(files, p.file.id)
		all, err := c.sections(ctx, p.file.id)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if troubleshooting(&s.section) && !slices.ContainsFunc(pool, func(o passage) bool { return o.row == s.row }) {
				s.measure(a, c.query)
				pool = append(pool, s)
			}
		}
		rank(pool[len(found):], c.query)
	}
	var tips []passage
	for _, p := range pool {
		if len(tips) == maxTips {
			break
		}
		near := slices.Contains(files, p.file.id) || p.score >= worthShowing*found[0].score
		if c.taken[p.row] || !troubleshooting(&p.section) || !near || p.coverage < 0.25 || len(p.body) > maxTip {
			continue
		}
		c.taken[p.row] = true
		tips = append(tips, p)
	}
	return tips, nil
}

// related lists documents that exist: those of the passages, the next best
// sections, and what the passages link to, unless they are there already.
func (c *composer) related(ctx context.Context, found, chosen []passage) ([]Link, error) {
	var links []Link
	listed := map[string]bool{}
	mentioned := map[string]bool{} // files that a link leads to or into
	add := func(text, repoPath, fragment string) {
		url := fromFAQ(repoPath)
		if fragment != "" {
			url += "#" + fragment
		}
		if len(links) == maxRelated || listed[url] || !c.exists(repoPath) {
			return
		}
		listed[url], mentioned[repoPath] = true, true
		links = append(links, Link{Text: escapeInline(text), URL: url})
	}
	var files []int64
	for _, p := range chosen {
		if !slices.Contains(files, p.file.id) {
			files = append(files, p.file.id)
			add(p.file.title, c.folder.layout.repoPath(p.file.path), "")
		}
	}
	for i, p := range found {
		if i >= 2*maxPassages || p.score < worthLinking*found[0].score {
			break
		}
		if c.taken[p.row] || len(links) >= maxRelated-2 {
			continue
		}
		repoPath := c.folder.layout.repoPath(p.file.path)
		if p.heading == p.file.title { // the top of the file
			add(p.file.title, repoPath, "")
		} else if l := c.source(&p); !listed[l.URL] && c.exists(repoPath) {
			listed[l.URL], mentioned[repoPath] = true, true
			links = append(links, l)
		}
	}
	for _, repoPath := range c.linked {
		if mentioned[repoPath] {
			continue
		}
		title, err := c.index.title(ctx, c.folder.layout.docPath(repoPath))
		if err != nil {
			return nil, err
		}
		add(cmp.Or(title, titleFromName(repoPath)), repoPath, "")
	}
	return links, nil
}

func (c *composer) exists(repoPath string) bool {
	_, err := os.Stat(filepath.Join(c.folder.layout.repo, filepath.FromSlash(repoPath)))
	return err == nil
}

// heading words a passage's heading so that no two are the same.
func (c *composer) heading(p *passage, used map[string]bool) string {
	text := p.heading
	if text == "" {
		text = p.file.title
	}
	if used[text] {
		text += " (" + p.file.title + ")"
	}
	if used[text] && len(p.parents) > 0 {
		text = p.parents[len(p.parents)-1] + ": " + p.heading
	}
	used[text] = true
	return escapeInline(text)
}

// source links to the section that a passage is.
func (c *composer) source(p *passage) Link {
	text := p.file.title
	if p.heading != "" && p.heading != text {
		text += " › " + p.heading
	}
	url := fromFAQ(c.folder.layout.repoPath(p.file.path))
	if p.anchor != "" {
		url += "#" + p.anchor
	}
	return Link{Text: escapeInline(text), URL: url}
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
