package redis

import (
	"context"
	"strconv"
	"time"
)

// witnessField is the witness of keys of which all fields are read; see
// lua/witness.lua.
const witnessField = "\x00\x00\x00\x00\x00\x00"

// mendGrace is how much longer than otherwise a running task waits for the session
// that runs it: first the rest is mended.
const mendGrace = time.Minute

// mend puts together again what keys of the partition said that somebody else has
// deleted, or that were evicted. A caller that has to leave has done its part: the
// next goes on from there.
func (p *partition) mend(ctx context.Context) error {
	grace := strconv.FormatInt((p.eng.opt.orphanGrace + mendGrace).Milliseconds(), 10)
	for {
		reply, err := p.read(ctx, scriptMend, grace)
		if err != nil {
			return err
		}
		letter, err := reply[0].ToString()
		if err != nil {
			return err
		}
		if letter == "e" {
			return nil
		}
	}
}
