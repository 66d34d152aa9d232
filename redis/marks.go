package redis

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

var _ morningai.Marker = (*Engine)(nil)

// Marks implements [morningai.Marker].
func (e *Engine) Marks() []morningai.Mark {
	var out []morningai.Mark
	for _, p := range e.parts {
		lineage := p.lineage()
		for _, l := range p.lanes() {
			if id, acked := l.mark(); acked > 0 && strings.HasPrefix(id, lineage) {
				out = append(out, morningai.Mark{Partition: p.n, Lane: []byte(id), Acked: acked})
			}
		}
	}
	return out
}

// laneMargin covers the time between two looks for old lanes, and clocks that differ.
const laneMargin = time.Hour

// earlier are the lanes of an earlier engine, and what Redis had acknowledged of each.
func (p *partition) earlier() (ids, acked []string) {
	o := &p.eng.opt
	if o.now().Sub(o.markedAt) > o.laneAge-laneMargin {
		return nil, nil // Redis may have forgotten them
	}
	for _, m := range o.marks {
		if m.Partition == p.n && strings.HasPrefix(string(m.Lane), p.lineage()) {
			ids, acked = append(ids, string(m.Lane)), append(acked, strconv.FormatUint(m.Acked, 10))
		}
	}
	return ids, acked
}

// compareEarlier notices what Redis has lost since an earlier engine. Lanes of other
// data than these tell nothing: that those were lost is known.
func (p *partition) compareEarlier(ctx context.Context) error {
	ids, acked := p.earlier()
	if len(ids) == 0 {
		return nil
	}
	known := p.dataSet()
	result, err := p.eng.do(ctx, p.eng.client.B().Hmget().Key(p.base+"lanes").Field(ids...).Build())
	if err != nil {
		return err
	}
	stored, err := result.ToArray()
	if err != nil {
		return err
	}
	if len(stored) != len(ids) {
		return errCorrupt
	}
	for i := range stored {
		text, err := stored[i].ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
		if lags(text, acked[i]) {
			return p.noticed(ctx, known)
		}
	}
	return nil
}
