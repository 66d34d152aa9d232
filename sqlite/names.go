package sqlite

import "sync"

// names interns queue and type pairs, and nodes: rows refer to them by number.
// An entry that no commit has saved yet has its saved mark unset, and goes into
// the transaction of the next row that uses it.
type names struct {
	mu        sync.RWMutex
	lines     []*line // by id-1
	byName    map[[2]string]*line
	nodes     []*node
	nodeBy    map[string]*node
	savedLine map[*line]bool
	savedNode map[*node]bool
}

func newNames() *names {
	return &names{byName: map[[2]string]*line{}, nodeBy: map[string]*node{}, savedLine: map[*line]bool{}, savedNode: map[*node]bool{}}
}

func (n *names) line(id int64) *line {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if id < 1 || id > int64(len(n.lines)) {
		return nil
	}
	return n.lines[id-1]
}

func (n *names) node(id int64) *node {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if id < 1 || id > int64(len(n.nodes)) {
		return nil
	}
	return n.nodes[id-1]
}

func (n *names) all() []*line {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.lines[:len(n.lines):len(n.lines)]
}

// lineFor returns the pair's entry, made if need be.
func (n *names) lineFor(queue, typ string) *line {
	key := [2]string{queue, typ}
	n.mu.RLock()
	l := n.byName[key]
	n.mu.RUnlock()
	if l != nil {
		return l
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if l = n.byName[key]; l == nil {
		l = &line{id: int64(len(n.lines) + 1), queue: queue, typ: typ}
		n.lines = append(n.lines, l)
		n.byName[key] = l
	}
	return l
}

func (n *names) nodeFor(name string) *node {
	if name == "" {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.nodeBy[name]
	if d == nil {
		d = &node{id: int64(len(n.nodes) + 1), name: name}
		n.nodes = append(n.nodes, d)
		n.nodeBy[name] = d
	}
	return d
}

func (n *names) isSaved(l *line) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.savedLine[l]
}

func (n *names) isSavedNode(d *node) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.savedNode[d]
}

func (n *names) markSaved(lines []*line, nodes []*node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range lines {
		n.savedLine[l] = true
	}
	for _, d := range nodes {
		n.savedNode[d] = true
	}
}

// load reads what earlier runs have saved. Ids have no gaps unless a crash came
// between; gaps are filled with nameless entries that nothing refers to.
func (n *names) load(c *conn) error {
	s, err := c.prepare("SELECT id, queue, type FROM lines ORDER BY id")
	if err != nil {
		return err
	}
	defer s.finalize()
	for {
		ok, err := s.step()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		l := &line{id: s.colInt(0), queue: s.colText(1), typ: s.colText(2)}
		for int64(len(n.lines)) < l.id-1 {
			n.lines = append(n.lines, &line{id: int64(len(n.lines) + 1)})
		}
		n.lines = append(n.lines, l)
		n.byName[[2]string{l.queue, l.typ}] = l
		n.savedLine[l] = true
	}
	t, err := c.prepare("SELECT id, name FROM nodes ORDER BY id")
	if err != nil {
		return err
	}
	defer t.finalize()
	for {
		ok, err := t.step()
		if err != nil || !ok {
			return err
		}
		d := &node{id: t.colInt(0), name: t.colText(1)}
		for int64(len(n.nodes)) < d.id-1 {
			n.nodes = append(n.nodes, &node{id: int64(len(n.nodes) + 1)})
		}
		n.nodes = append(n.nodes, d)
		n.nodeBy[d.name] = d
		n.savedNode[d] = true
	}
}
