package redis

import (
	"context"
	"strconv"

	"github.com/RC918/morningai"
)

var _ morningai.Restorer = (*Engine)(nil)

// RestoreState implements [morningai.Restorer].
func (e *Engine) RestoreState(ctx context.Context) (morningai.RestoreState, error) {
	return e.restoreState(ctx, "", "")
}

// SetRestoreState implements [morningai.Restorer]. A restore that is not finished
// keeps no server from working: whoever puts a backup in stops them.
func (e *Engine) SetRestoreState(ctx context.Context, s morningai.RestoreState) error {
	_, err := e.restoreState(ctx, strconv.FormatInt(s.Generation, 10), strconv.FormatInt(s.Unfinished, 10))
	return err
}

func (e *Engine) restoreState(ctx context.Context, args ...string) (s morningai.RestoreState, err error) {
	if err := e.enter(ctx); err != nil {
		return s, err
	}
	defer e.active.Done()
	call, cancel := e.bounded(ctx)
	defer cancel()
	reply, err := e.parts[0].read(call, scriptRestore, args...)
	if err != nil {
		return s, e.failed(ctx, "restore state", err)
	}
	for i, to := range []*int64{&s.Generation, &s.Unfinished} {
		text, err := reply[i].ToString()
		if err != nil {
			return s, errCorrupt
		}
		if *to, err = strconv.ParseInt(text, 10, 64); err != nil {
			return s, errCorrupt
		}
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
