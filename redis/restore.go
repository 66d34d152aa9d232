package redis

import (
	"context"
	"crypto/rand"
	"strconv"

	"github.com/RC918/morningai"
)

var _ morningai.Restorer = (*Engine)(nil)

// RestoreState implements [morningai.Restorer].
func (e *Engine) RestoreState(ctx context.Context) (morningai.RestoreState, error) {
	return e.restoreState(ctx, e.parts[0], "", "", "")
}

// SetRestoreState implements [morningai.Restorer]. A restore that begins or ends
// begins a new generation of the data, as a loss does: nodes that work on it tell at
// once what they know to be finished, and those that are down when they start.
func (e *Engine) SetRestoreState(ctx context.Context, s morningai.RestoreState) error {
	for i := len(e.parts) - 1; i >= 0; i-- { // partition 0, which is asked, comes last
		var lineage [8]byte
		rand.Read(lineage[:]) // never fails
		if _, err := e.restoreState(ctx, e.parts[i], strconv.FormatInt(s.Generation, 10), strconv.FormatInt(s.Unfinished, 10), string(lineage[:])); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) restoreState(ctx context.Context, p *partition, args ...string) (s morningai.RestoreState, err error) {
	if err := e.enter(ctx); err != nil {
		return s, err
	}
	defer e.active.Done()
	call, cancel := e.bounded(ctx)
	defer cancel()
	known := p.dataSet()
	reply, err := p.read(call, scriptRestore, args...)
	if err != nil {
		return s, e.failed(ctx, "restore state", err)
	}
	texts, err := allTexts(reply, 5)
	if err != nil {
		return s, err
	}
	now := dataSet{id: known.id, lineage: texts[3]}
	for i, to := range []*int64{&s.Generation, &s.Unfinished, &now.generation, nil, &now.lostAt} {
		if to == nil {
			continue
		}
		if *to, err = strconv.ParseInt(texts[i], 10, 64); err != nil {
			return s, errCorrupt
		}
	}
	if args[0] != "" {
		p.adopt(now)
	}
	return s, nil
}

// Exists reports whether an engine has ever been opened at the address. It leaves
// nothing there, other than Open.
func Exists(ctx context.Context, url string, opts ...Option) (bool, error) {
	c, err := NewConn(url, opts...)
	if err != nil {
		return false, err
	}
	defer c.Close()
	call, leave, err := c.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	e := c.e
	reply, err := e.do(call, e.client.B().Arbitrary("EXISTS").Keys(newPartition(e, 0).keys[0]).Build())
	if err != nil {
		return false, e.failed(ctx, "look at redis", err)
	}
	n, err := reply.ToInt64()
	return n > 0, e.failed(ctx, "look at redis", err)
}
