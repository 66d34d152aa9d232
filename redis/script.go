package redis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

var (
	//go:embed lua/constants.lua
	constantsLua string
	//go:embed lua/base.lua
	baseLua string
	//go:embed lua/flush.lua
	flushLua string
	//go:embed lua/block.lua
	blockLua string
	//go:embed lua/torn.lua
	tornLua string
	//go:embed lua/common.lua
	commonLua string
	//go:embed lua/index.lua
	indexLua string
	//go:embed lua/witness.lua
	witnessLua string
)

var (
	//go:embed lua/open.lua
	openLua string
	//go:embed lua/mend.lua
	mendLua string
	//go:embed lua/probe.lua
	probeLua string
	//go:embed lua/enqueue.lua
	enqueueLua string
	//go:embed lua/accept.lua
	acceptLua string
	//go:embed lua/work.lua
	workLua string
	//go:embed lua/finish.lua
	finishLua string
	//go:embed lua/claim.lua
	claimLua string
	//go:embed lua/report.lua
	reportLua string
	//go:embed lua/beat.lua
	beatLua string
	//go:embed lua/reap.lua
	reapLua string
	//go:embed lua/command.lua
	commandLua string
	//go:embed lua/queue.lua
	queueLua string
	//go:embed lua/import.lua
	importLua string
	//go:embed lua/export.lua
	exportLua string
	//go:embed lua/restore.lua
	restoreLua string
	//go:embed lua/sweep.lua
	sweepLua string
	//go:embed lua/get.lua
	getLua string
	//go:embed lua/list.lua
	listLua string
	//go:embed lua/stats.lua
	statsLua string
	//go:embed lua/events.lua
	eventsLua string
)

// script is a Lua script with the part that all share in front.
type script struct {
	text string
	sha  string
}

// newScript completes a script. What base.lua declares is outside of a function
// that holds the rest: Lua looks for a captured variable of the enclosing function
// along all that are captured, for each closure that every call makes anew.
func newScript(own string) *script {
	return complete("return (function()\n", flushLua+blockLua+commonLua+indexLua+own, "end)()\n")
}

// newWriter completes a script that writes: one that ends with an error leaves
// behind that it was torn.
func newWriter(own string) *script { return writer(flushLua + blockLua + commonLua + indexLua + own) }

func writer(rest string) *script {
	return complete("local ok, out = pcall(function()\n", rest, "end)\nif ok then return out end\n"+tornLua)
}

// newHotScript completes a script that writes and seldom takes records apart: what that
// needs is made by unusual, with the functions that rare returns.
func newHotScript(rare, own string) *script {
	return writer(flushLua + blockLua + "local function prepare()\n" + commonLua + indexLua + rare + "end\n" +
		"local made\nlocal function unusual()\nmade = made or prepare()\nreturn made\nend\n" + own)
}

func complete(before, rest, after string) *script {
	text := inline(baseLua + before + rest + "\n" + after)
	sum := sha1.Sum([]byte(text)) // Redis names scripts by their SHA-1
	return &script{text: text, sha: hex.EncodeToString(sum[:])}
}

var constantName = regexp.MustCompile(`\b[A-Z][A-Z_]*\b`)

// inline writes the numbers of constants.lua in place of their names.
func inline(text string) string {
	values := map[string]string{}
	for line := range strings.Lines(constantsLua) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " = "); ok {
			values[name] = value
		}
	}
	return constantName.ReplaceAllStringFunc(text, func(name string) string {
		if value, ok := values[name]; ok {
			return value
		}
		return name
	})
}

var (
	scriptOpen    = newScript(witnessLua + openLua)
	scriptMend    = newScript(witnessLua + mendLua)
	scriptProbe   = newScript(witnessLua + probeLua)
	scriptEnqueue = newHotScript(acceptLua, enqueueLua)
	scriptWork    = newHotScript(reportLua, finishLua+claimLua+workLua)
	scriptBeat    = newWriter(witnessLua + beatLua)
	scriptReap    = newWriter(reapLua)
	scriptCommand = newWriter(commandLua)
	scriptQueue   = newWriter(queueLua)
	scriptImport  = newWriter(importLua)
	scriptExport  = newScript(witnessLua + exportLua)
	scriptRestore = newWriter(restoreLua)
	scriptSweep   = newWriter(sweepLua)
	scriptGet     = newScript(getLua)
	scriptList    = newScript(witnessLua + listLua)
	scriptStats   = newScript(witnessLua + statsLua)
	scriptEvents  = newScript(eventsLua)
)

// keyNames are the keys of a partition in the order that lua/base.lua has
// them.
var keyNames = []string{
	"meta", "lanes", "names", "tasks", "specs", "extra", "chunks", "ready", "bits", "waiting", "due", "counts", "cells", "index",
	"unique", "purge", "events", "sessions", "grants", "cancels", "queues",
}

// eval runs a script, sending its text if the server does not know it, and the
// same bytes again where that makes sense: every script may be repeated. While
// the slot of the keys moves to another server of a Cluster nothing is applied,
// and eval waits, for half of its time: what is in the way has to be told.
func (e *Engine) eval(ctx context.Context, s *script, keys, args []string) ([]rueidis.RedisMessage, error) {
	var t tries
	moving := time.Now().Add(e.opt.timeout / 2)
	if end, ok := ctx.Deadline(); ok {
		moving = time.Now().Add(time.Until(end) / 2)
	}
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		reply, err := e.evalOnce(ctx, s.sha, false, keys, args)
		if isReply(err, "NOSCRIPT") {
			reply, err = e.evalOnce(ctx, s.text, true, keys, args)
		}
		if err == nil || ctx.Err() != nil || !(isReply(err, "TRYAGAIN") && time.Now().Before(moving)) && !t.again(err) {
			return reply, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

func (e *Engine) evalOnce(ctx context.Context, body string, text bool, keys, args []string) ([]rueidis.RedisMessage, error) {
	var cmd rueidis.Completed
	if text {
		cmd = e.client.B().Eval().Script(body).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
	} else {
		cmd = e.client.B().Evalsha().Sha1(body).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
	}
	result, err := e.do(ctx, cmd)
	if err != nil {
		return nil, err
	}
	list, err := result.ToArray()
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("a script answered nothing")
	}
	return list, err
}

// callsAtOnce bounds the commands that the client has in its hand, those that
// were given up while the server is frozen among them.
const callsAtOnce = 512

// processStart is what times are counted from, by a clock that nobody sets.
var processStart = time.Now()

// LastReply is when Redis last replied to this engine, whatever it said; zero if it
// never has. A method may make several trips, and so take long although Redis
// answers each of them.
func (e *Engine) LastReply() time.Time {
	at := e.replied.Load()
	if at == 0 {
		return time.Time{}
	}
	return processStart.Add(time.Duration(at))
}

// do sends one command. It returns when the context ends even if the client
// does not: its queue may be full because the server is frozen. A command given
// up keeps its slot until its connection has answered or is gone.
func (e *Engine) do(ctx context.Context, cmd rueidis.Completed) (rueidis.RedisResult, error) {
	return e.doOn(ctx, e.client, cmd)
}

// doOn is do on the client of one server.
func (e *Engine) doOn(ctx context.Context, client rueidis.Client, cmd rueidis.Completed) (rueidis.RedisResult, error) {
	done := make(chan rueidis.RedisResult, 1)
	if cmd.IsBlock() { // the client has a connection for it alone, and closes it
		ctx := context.WithValue(ctx, blocking{}, true)
		e.calls.Go(func() { done <- client.Do(ctx, cmd) })
	} else {
		select {
		case e.slots <- struct{}{}:
		case <-ctx.Done():
			return rueidis.RedisResult{}, ctx.Err()
		}
		// A connection is made with the context of whoever needs it first; the
		// others would share its end.
		lasting := context.WithoutCancel(ctx)
		e.calls.Go(func() {
			done <- client.Do(lasting, cmd)
			<-e.slots
		})
	}
	select {
	case result := <-done:
		err := result.NonRedisError()
		if err == nil {
			e.replied.Store(int64(time.Since(processStart)))
		}
		return result, err
	case <-ctx.Done():
		return rueidis.RedisResult{}, ctx.Err()
	}
}
