package redis

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// errLost is what a claim of data is answered with that have lost something since
// they were known to whoever asked: there is a reason to look first what is missing.
var errLost = &morningai.Error{Code: CodeUnavailable, Op: "claim", Detail: "Redis has lost data that it had acknowledged"}

// dataSet is what a partition is known to work on.
type dataSet struct {
	id         string
	generation int64
	lineage    string // 8 bytes
	lostAt     int64  // ms
}

func (p *partition) dataSet() dataSet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.data
}

// lineage is what the names of lanes begin with.
func (p *partition) lineage() string { return p.dataSet().lineage }

// adopt takes in which data there are, and reports whether they are other ones
// than before.
func (p *partition) adopt(d dataSet) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.data
	if d.generation < was.generation {
		return false // it was on its way while others have learned more
	}
	p.data = d
	return was.lineage != "" && was.lineage != d.lineage
}

// Why a partition is opened.
const (
	toWork    = "0"
	afterLoss = "1" // the caller has noticed one
	toLook    = "r" // nothing is written
)

// open makes the partition ready, or refuses one made for another number of
// partitions, by a newer program, or with other data than the engine has worked
// on. If the caller has noticed that the data which it knew have lost something,
// and nobody else has, a new generation of them begins.
func (p *partition) open(ctx context.Context, known dataSet, why string) error {
	const format = "4"
	expected := p.eng.expected()
	fresh, err := morningai.NewID()
	if err != nil {
		return err
	}
	var lineage [8]byte
	rand.Read(lineage[:]) // never fails
	reply, err := p.read(ctx, scriptOpen, strconv.Itoa(p.eng.opt.partitions), format, expected, string(fresh[:]),
		strconv.FormatInt(max(known.generation, p.least), 10), why, string(lineage[:]))
	if err != nil {
		return err
	}
	texts, err := allTexts(reply, 7)
	if err != nil {
		return err
	}
	if n := texts[0]; n != strconv.Itoa(p.eng.opt.partitions) {
		return &morningai.Error{Code: CodeWrongRedis, Op: "open redis", Detail: "this Redis was set up with partitions=" + n + ", not " + strconv.Itoa(p.eng.opt.partitions),
			Hint: "use partitions=" + n + " everywhere, another prefix, or an empty Redis"}
	}
	if texts[1] != format {
		return &morningai.Error{Code: morningai.CodeNewerFormat, Op: "open redis", Detail: "the data in this Redis have format " + texts[1] + ", and this version of the program knows format " + format,
			Hint: "use the version that wrote them, or another prefix in the address"}
	}
	if expected != "" && texts[2] != expected {
		return errOtherData
	}
	if texts[6] != "" {
		if err := p.mend(ctx); err != nil {
			return err
		}
		return p.open(ctx, known, why)
	}
	d := dataSet{id: texts[2], lineage: texts[4]}
	for i, to := range map[int]*int64{3: &d.generation, 5: &d.lostAt} {
		if *to, err = strconv.ParseInt(texts[i], 10, 64); err != nil {
			return errCorrupt
		}
	}
	p.eng.expect(d.id)
	if p.adopt(d) {
		p.eng.lost(p)
	}
	return nil
}

// errOtherData refuses data that are not those of this node's journal.
var errOtherData = &morningai.Error{Code: CodeWrongRedis, Op: "open redis",
	Detail: "this Redis holds other data than those this node works on: another database number, another server, or another installation",
	Hint:   "correct the address; to use this Redis from now on, start with another data folder, or empty it"}

func allTexts(reply []rueidis.RedisMessage, n int) ([]string, error) {
	if len(reply) < n {
		return nil, errCorrupt
	}
	out := make([]string, n)
	for i := range out {
		var err error
		if out[i], err = reply[i].ToString(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// compareData acts on the generation and the lineage that a beat has found, whose
// caller knew these data before it asked.
func (p *partition) compareData(ctx context.Context, known dataSet, generation int64, lineage string) error {
	switch {
	case generation == known.generation && lineage == known.lineage:
		return nil
	case generation <= known.generation:
		return p.noticed(ctx, known)
	}
	return p.reopen(ctx, known, toWork)
}

// noticed acts on a loss that a caller has noticed who knew these data before it
// asked.
func (p *partition) noticed(ctx context.Context, known dataSet) error {
	return p.reopen(ctx, known, afterLoss)
}

func (p *partition) reopen(ctx context.Context, known dataSet, why string) error {
	if p.dataSet() != known { // others have seen to it
		return nil
	}
	return p.open(ctx, known, why)
}

// look makes sure, after a read, that the data are those that they were, and have
// lost nothing that was acknowledged to this node: a task that was not there may
// have been lost.
func (p *partition) look(ctx context.Context) error {
	known := p.dataSet()
	marks := p.marks(known)
	fields := []string{"*"}
	for i := 0; i < len(marks); i += 2 {
		fields = append(fields, marks[i])
	}
	call, cancel := p.eng.bounded(ctx)
	defer cancel()
	result, err := p.eng.do(call, p.eng.client.B().Hmget().Key(p.base+"lanes").Field(fields...).Build())
	if err != nil {
		return err
	}
	stored, err := result.ToArray()
	if err != nil {
		return err
	}
	if len(stored) != len(fields) {
		return errCorrupt
	}
	for i := range stored {
		text, err := stored[i].ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
		if i == 0 && (len(text) < 8 || text[:8] != known.lineage) || i > 0 && lags(text, marks[2*i-1]) {
			return p.noticed(call, known)
		}
	}
	return nil
}

// lags reports that Redis has stored less of a lane than it has acknowledged.
func lags(stored, acked string) bool {
	n, err := strconv.ParseUint(acked, 10, 64)
	return err != nil || len(stored) < 6 || u48(stored) < n
}

// expected is the name of the data that the engine works on; "" if it has seen
// none yet.
func (e *Engine) expected() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.data
}

func (e *Engine) expect(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.data = id
}

// remember makes the engine expect the data that a node has worked on before.
func (e *Engine) remember(d morningai.DataSet) {
	if d.ID.IsZero() {
		return
	}
	e.data = string(d.ID[:])
	if len(e.parts) == 1 { // of several it is a sum
		e.parts[0].least = d.Generation
	}
}

// known is what each partition works on.
func (e *Engine) known() []dataSet {
	out := make([]dataSet, len(e.parts))
	for i, p := range e.parts {
		out[i] = p.dataSet()
	}
	return out
}

// dataSet puts together what all partitions work on; zero while that is not known
// of each. What was remembered is none of it.
func (e *Engine) dataSet() morningai.DataSet { return e.sum(e.known()) }

func (e *Engine) sum(known []dataSet) morningai.DataSet {
	var out morningai.DataSet
	id := e.expected()
	if len(id) != len(out.ID) {
		return out
	}
	out.ID = morningai.ID([]byte(id))
	var lostAt int64
	for i, d := range known {
		if d.id == "" {
			return morningai.DataSet{}
		}
		out.Generation += d.generation
		if len(d.lineage) == 8 {
			n := binary.BigEndian.Uint64([]byte(d.lineage))
			out.Lineage ^= n<<(i%63) | n>>(64-i%63)
		}
		lostAt = max(lostAt, d.lostAt)
	}
	if lostAt > 0 {
		out.LostAt = time.UnixMilli(lostAt).UTC()
	}
	return out
}
