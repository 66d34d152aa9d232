package redis

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/redis/rueidis"
)

// claimArgs is what a claim asks of one partition.
type claimArgs struct {
	session morningai.SessionID
	node    string
	seq     int64
	n       int
	queues  []morningai.QueueShare
	types   []string
	lineage string // of the data that its caller knows

	lease, started string // of the call that was sent: one token for all that it hands out
}

func (c *claimArgs) keys(p *partition) []string { return p.wakeKeys(c.types, c.queues) }

func (c *claimArgs) args() []string {
	var lease [8]byte
	rand.Read(lease[:]) // never fails
	lease[0] &= 0x7f    // what scripts look for ends before 255
	lease[7] |= 1       // no lease is 0
	c.lease, c.started = string(lease[:]), be(uint64(time.Now().UnixNano()))+c.node[:min(len(c.node), maxNode)]
	args := []string{
		string(c.session[:]), strconv.FormatInt(c.seq, 10), strconv.Itoa(c.n), c.lease, c.started,
		strconv.Itoa(batchBytes), strconv.Itoa(len(c.queues)), strconv.Itoa(len(c.types)),
	}
	for _, q := range c.queues {
		args = append(args, q.Name)
	}
	args = append(args, c.types...)
	for _, q := range c.queues {
		args = append(args, strconv.Itoa(q.Share))
	}
	return args
}

// grants is a partition's answer to a claim.
type grants struct {
	unknown bool // the session
	list    []morningai.Grant
	cancels []morningai.ID
	next    time.Duration // until more may be ready; 0 if nothing is known
}

func (g *grants) read(ctx context.Context, p *partition, c *claimArgs, compact string, reply []rueidis.RedisMessage) error {
	compact = strings.TrimPrefix(compact, "-")
	if compact == "x" {
		g.unknown = true
		return nil
	}
	if len(compact) < 13 || compact[0] != 'g' {
		return errCorrupt
	}
	lease, n := compact[1:9], int(be16(compact[9:]))
	rest := compact[11:]
	if len(rest) < n*16+2 {
		return errCorrupt
	}
	ids, rest := rest[:n*16], rest[n*16:]
	cancels := int(be16(rest))
	if rest = rest[2:]; len(rest) != cancels*16+6 {
		return errCorrupt
	}
	for i := range cancels {
		g.cancels = append(g.cancels, morningai.ID([]byte(rest[i*16:i*16+16])))
	}
	g.next = time.Duration(u48(rest[cancels*16:])) * time.Millisecond
	found, err := p.readGranted(ctx, reply, ids, firstRun(c, lease))
	if err != nil {
		return err
	}
	steps, err := readSteps(reply[3])
	if err != nil {
		return err
	}
	now, token := time.Now().UTC(), be64(lease)
	g.list = make([]morningai.Grant, 0, len(found))
	for _, s := range found {
		// On a repeat of the reply a grant may have been taken back meanwhile.
		if stateNames[s.state] != morningai.StateRunning || s.lease != token {
			continue
		}
		t, err := s.task(now)
		if err != nil {
			return err
		}
		grant := morningai.Grant{
			Task: t, Lease: morningai.Lease{ID: s.id, Claim: int64(s.claim), Lease: token}, Steps: steps[s.id],
			UniqueKey: strings.Clone(s.uniqueKey), Fingerprint: s.fingerprint,
		}
		if s.has(flagRetention) {
			grant.Retention = &s.retention
		}
		g.list = append(g.list, grant)
	}
	return nil
}

func readSteps(m rueidis.RedisMessage) (map[morningai.ID]map[string]json.RawMessage, error) {
	list, err := m.AsStrSlice()
	if err != nil {
		return nil, err
	}
	out := map[morningai.ID]map[string]json.RawMessage{}
	for i := 0; i+2 < len(list); i += 3 {
		id := morningai.ID([]byte(list[i]))
		if out[id] == nil {
			out[id] = map[string]json.RawMessage{}
		}
		out[id][list[i+1]] = json.RawMessage(list[i+2])
	}
	return out, nil
}

var errUnknownSession = &morningai.Error{Code: morningai.CodeNotFound, Op: "claim", Detail: "the session is not known", Hint: "beat first"}

// Claim hands out ready tasks; see [morningai.Engine].
func (e *Engine) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.ClaimReply{}, err
	}
	defer e.active.Done()
	known := e.known(e.awayParts())
	if !req.Known.ID.IsZero() && !e.sum(known).Same(req.Known) {
		return morningai.ClaimReply{}, e.failed(ctx, "claim", errLost)
	}
	s := e.session(req.Session)
	seq := s.begin()
	var open *workJob // left behind under way
	defer func() { e.endClaim(s, seq, open) }()
	reply := morningai.ClaimReply{Seq: seq}
	types := uniqueStrings(req.Types)
	deadline := time.Now().Add(req.Wait)
	due, leave := e.watchDues()
	defer leave()
	for {
		due.reset()
		next, err := e.claimAll(ctx, s, req, known, types, &reply, &open)
		if err != nil {
			return morningai.ClaimReply{}, err
		}
		left := time.Until(deadline)
		if len(reply.Grants)+len(reply.Cancels) > 0 || left <= 0 {
			return reply, nil
		}
		if req.N == 0 {
			types = nil // only cancels are waited for
		}
		if err := e.waitWork(ctx, req.Session, types, req.Queues, min(left, next), due); err != nil {
			return morningai.ClaimReply{}, err
		}
		if left <= next && time.Until(deadline) <= 0 {
			return reply, nil // no token came: the next claim looks again
		}
	}
}

// endClaim lets beats know that a claim can bring no more grants. For one whose
// caller has left, or whose answer was lost, that is when its call has ended and
// cannot be applied later either.
func (e *Engine) endClaim(s *session, seq int64, open *workJob) {
	if open == nil {
		s.end(seq)
		return
	}
	e.loops.Go(func() {
		select {
		case <-open.done:
			s.doubt(seq, open.part)
		case <-e.idle:
		}
		select {
		case <-open.over:
		case <-e.idle:
		}
		s.end(seq)
	})
}

// claimAll asks the partitions in turn until the request is filled. It returns
// when to look again if nothing was found.
func (e *Engine) claimAll(ctx context.Context, s *session, req morningai.ClaimRequest, known []dataSet, types []string, reply *morningai.ClaimReply, open **workJob) (time.Duration, error) {
	next := e.opt.blockFor
	shares := slices.Clone(req.Queues)
	first := s.firstPartition(len(e.parts))
	for i := range e.parts {
		p := e.parts[(first+i)%len(e.parts)]
		for p.gone() == nil {
			want := min(req.N-len(reply.Grants), batchTasks)
			if want == 0 && req.N > 0 {
				break
			}
			if ctx.Err() != nil {
				if len(reply.Grants) > 0 {
					return next, nil
				}
				return 0, ctx.Err()
			}
			j := &workJob{claim: &claimArgs{session: req.Session, node: s.nodeName(), seq: reply.Seq, n: want, queues: shares, types: types, lineage: known[p.n].lineage}, part: p.n}
			call, cancel := e.lingering(ctx)
			err := p.works.do(call, j)
			var got grants
			if err == nil {
				err = got.read(call, p, j.claim, j.compact, j.reply)
			}
			cancel()
			if err != nil {
				s.brought(reply.Seq)
				*open = j
				e.suspect(err)
				if len(reply.Grants) > 0 { // of other partitions
					return next, nil
				}
				return 0, e.failed(ctx, "claim", err)
			}
			if len(got.list) > 0 {
				s.brought(reply.Seq)
			}
			if got.unknown {
				if len(e.parts) > 1 && s.known() {
					break // it has not beaten there yet
				}
				return 0, errUnknownSession
			}
			reply.Grants = append(reply.Grants, got.list...)
			reply.Cancels = append(reply.Cancels, got.cancels...)
			if got.next > 0 {
				next = min(next, got.next)
			}
			for _, g := range got.list {
				for k := range shares {
					if shares[k].Name == g.Task.Queue {
						shares[k].Share = max(0, shares[k].Share-1)
					}
				}
			}
			if n := len(got.list); n == 0 || n < want && !large(got.list) {
				break
			}
		}
	}
	return next, nil
}

// lingerFor is how long a claim whose caller has left waits for an answer that is
// under way: a grant that nobody takes is an attempt that nobody made, and comes
// back only with a beat.
const lingerFor = 100 * time.Millisecond

// lingering is like bounded, and ends a moment after the caller's context.
func (e *Engine) lingering(ctx context.Context) (context.Context, context.CancelFunc) {
	call, cancel := e.bounded(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lingerFor, cancel) })
	return call, func() {
		stop()
		cancel()
	}
}

// large reports whether a call may have stopped because its answer grew, not
// because there was nothing more.
func large(list []morningai.Grant) bool {
	bytes := 0
	for i := range list {
		bytes += len(list[i].Task.Payload) + 1024
	}
	return bytes > batchBytes/4
}

func packLeases(leases []morningai.Lease) []string {
	out := make([]string, len(leases))
	for i, l := range leases {
		out[i] = string(appendLease(nil, l))
	}
	return out
}

func unpackLease(s string) morningai.Lease {
	return morningai.Lease{ID: morningai.ID([]byte(s[:16])), Lease: be64(s[16:]), Claim: int64(binary.BigEndian.Uint32([]byte(s[26:30])))}
}
