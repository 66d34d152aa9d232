package redis

import (
	"context"
	"encoding/binary"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

var commandCodes = map[morningai.CommandKind]byte{
	morningai.CommandCancel: 1, morningai.CommandRetry: 2, morningai.CommandRun: 3, morningai.CommandDelete: 4,
}

var commandErrors = map[byte]error{
	'n': &morningai.Error{Code: morningai.CodeNotFound, Op: "command", Detail: "there is no such task"},
	'v': &morningai.Error{Code: morningai.CodeConflict, Op: "command", Detail: "the task has moved on", Hint: "read it again"},
	'k': &morningai.Error{Code: morningai.CodeConflict, Op: "command", Detail: "another live task holds the unique key"},
	'w': &morningai.Error{Code: morningai.CodeWrongState, Op: "command", Detail: "the state of the task does not allow it"},
}

// noVersion fills the six bytes that a script gets of a version. No task has come
// as far.
const noVersion = 1<<48 - 1

// Command carries out what operators ask for; see [morningai.Engine].
func (e *Engine) Command(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.active.Done()
	out := make([]morningai.CommandResult, len(cmds))
	items := make(map[*partition][]slot)
	for i, c := range cmds {
		code := commandCodes[c.Kind]
		if code == 0 {
			out[i].Err = morningai.InvalidInput("command", morningai.FieldError{Location: "kind", Message: "must be cancel, retry, run or delete"})
			continue
		}
		version := uint64(c.Version)
		if version > noVersion {
			version = noVersion
		}
		b := append(c.ID[:len(c.ID):len(c.ID)], code, byte(version>>40), byte(version>>32))
		b = binary.BigEndian.AppendUint32(b, uint32(version))
		if c.Error != nil && c.Kind == morningai.CommandCancel {
			b = append(b, packFront(time.Now(), c.Error, "")...)
		}
		p := e.of(c.ID)
		items[p] = append(items[p], slot{at: i, packed: string(b)})
	}
	for p, list := range items {
		if err := p.refuse("command"); err != nil {
			return nil, err
		}
		for len(list) > 0 {
			n := min(len(list), batchTasks)
			if err := p.command(ctx, cmds, list[:n], out); err != nil {
				return nil, e.failed(ctx, "command", err)
			}
			list = list[n:]
		}
	}
	return out, nil
}

func (p *partition) command(ctx context.Context, cmds []morningai.Command, list []slot, out []morningai.CommandResult) error {
	args := make([]string, len(list))
	for i, s := range list {
		args[i] = s.packed
	}
	call, cancel := p.eng.bounded(ctx)
	defer cancel()
	reply, err := p.others.call(call, scriptCommand, nil, args)
	if err != nil {
		return err
	}
	compact, err := reply[0].ToString()
	if err != nil {
		return err
	}
	found, err := readStored(reply[1], reply[2], reply[3])
	if err != nil {
		return err
	}
	tasks := make(map[morningai.ID]*stored)
	for _, s := range found {
		tasks[s.id] = s
	}
	now := time.Now().UTC()
	var control []string
	for _, s := range list {
		if compact == "" {
			return errCorrupt
		}
		letter := compact[0]
		compact = compact[1:]
		if letter == 'r' {
			if len(compact) < 16 {
				return errCorrupt
			}
			if s := morningai.SessionID([]byte(compact[:16])); s != (morningai.SessionID{}) { // otherwise nobody would take the token
				control = append(control, p.controlKey(s))
			}
			compact = compact[16:]
		}
		if err := commandErrors[letter]; err != nil {
			out[s.at].Err = err
			continue
		}
		had := tasks[cmds[s.at].ID]
		if had == nil {
			return errCorrupt
		}
		if out[s.at].Task, err = had.task(now); err != nil {
			return err
		}
		if out[s.at].UniqueKey = strings.Clone(had.uniqueKey); had.has(flagRetention) {
			out[s.at].Retention = &had.retention
		}
	}
	p.leaveTokens(uniqueStrings(control)) // the session that runs it looks at once
	p.wakeLines(reply[4])
	return nil
}
