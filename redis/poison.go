package redis

import (
	"context"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// A task may be such that Redis, or what is on the way to it, ends the
// connection whenever it is sent, for example because it is larger than the
// server allows. The batch that holds it would never get through. So a batch
// that breaks the connection while probes pass is halved until the one stands
// alone, which is refused by name; the others flow.

// poisonRounds is how often one item alone has to break connections, twice in a
// round, with a probe that passes after each: a network that drops connections
// now and then is not its fault.
const poisonRounds = 3

var errPoison error = &morningai.Error{Code: CodeWrongRedis, Detail: "Redis ends the connection whenever this is sent to it",
	Hint: "compare its size with proto-max-bulk-len and client-query-buffer-limit of the server, and see the server's log"}

// protocolError reports whether Redis has said that it does not read on.
func protocolError(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(plainText(e), "Protocol error")
}

// suspicious reports whether what was sent may be why a call failed.
func suspicious(err error) bool { return protocolError(err) || broken(err) }

// poisoned reports whether a call failed because of what was sent: the
// connection broke, and Redis takes other writes.
func (p *partition) poisoned(err error) bool {
	if !suspicious(err) {
		return false
	}
	ctx, cancel := context.WithTimeout(p.eng.ctx, p.eng.opt.timeout/2)
	defer cancel()
	_, err = p.others.call(ctx, scriptProbe, nil, nil)
	return err == nil
}

// alone sends a call of one item until it passes, fails for another reason, or
// has been found to be the poison.
func (p *partition) alone(send func() error) error {
	pause := 20 * time.Millisecond // others may be looking for theirs
	for round := 1; ; round++ {
		err := send()
		if err == nil || !p.poisoned(err) {
			return err
		}
		if round == poisonRounds || protocolError(err) {
			return errPoison
		}
		timer := time.NewTimer(pause)
		pause *= 5
		select {
		case <-timer.C:
		case <-p.eng.ctx.Done():
			timer.Stop()
			return err
		}
	}
}
