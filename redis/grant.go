package redis

import (
	"context"
	"errors"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// firstRun is what a record says of the hand-out of a call; see lua/common.lua.
func firstRun(c *claimArgs, lease string) string {
	return lease + string(c.session[:]) + be(uint64(c.seq))[2:] + c.started
}

// readGranted takes the tasks apart that a claim has handed out, in their order. One
// that nothing has happened to but this hand-out comes without a record, and of
// several without what it was asked for, which is read here: run says what its record would.
func (p *partition) readGranted(ctx context.Context, reply []rueidis.RedisMessage, ids, run string) ([]*stored, error) {
	names, err := readNames(reply[1])
	if err != nil {
		return nil, err
	}
	told, err := reply[2].AsStrSlice()
	if err != nil {
		return nil, err
	}
	list := make([]string, 0, 3*len(ids)/16)
	var unread []int // places in list
	for ; ids != ""; ids = ids[16:] {
		if len(told) >= 3 && told[0] == ids[:16] {
			list = append(list, told[:3]...)
			told = told[3:]
			continue
		}
		unread = append(unread, len(list))
		list = append(list, ids[:16], "", "")
	}
	if err := p.readSpecs(ctx, list, unread); err != nil {
		return nil, err
	}
	out := make([]*stored, 0, len(list)/3)
	for i := 0; i < len(list); i += 3 {
		id, value, spec := list[i], list[i+1], list[i+2]
		if value == "" {
			if len(spec) < seatLen {
				continue // somebody has deleted it: the next beat sees what else is gone
			}
			seat := spec[len(spec)-seatLen:]
			p.eng.seats.keep(morningai.ID([]byte(id)), seat)
			value = firstRecord(seat, run)
		}
		s, err := newStored(id, value, spec, names)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, readExtras(out, reply[5])
}

// readSpecs fills in what tasks were asked for, behind the places of their ids.
func (p *partition) readSpecs(ctx context.Context, list []string, unread []int) error {
	if len(unread) == 0 {
		return nil
	}
	fields := make([]string, len(unread))
	for i, at := range unread {
		fields[i] = list[at]
	}
	result, err := p.eng.do(ctx, p.eng.client.B().Hmget().Key(p.base+"specs").Field(fields...).Build())
	if err != nil {
		return err
	}
	specs, err := result.ToArray()
	if err != nil || len(specs) != len(unread) {
		return errors.Join(errCorrupt, err)
	}
	for i, at := range unread {
		if !specs[i].IsNil() {
			if list[at+2], err = specs[i].ToString(); err != nil {
				return err
			}
		}
	}
	return nil
}
