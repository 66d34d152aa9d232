package rq

import (
	"context"
	_ "embed"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/redis"
)

//go:embed lua/watch.lua
var watchLua string

var scriptWatch = redis.NewScript(commonLua + watchLua)

// Sender hands jobs to RQ for somebody who keeps them until they have ended: each
// is delivered once, and one that Redis has lost can be told from one that was
// deleted. Redis counts the jobs of each sender, in the key morningai:rq:sent.
type Sender struct {
	client *Client
	name   string
	// Fleet tells, if it is set, whose jobs these are: it names the data that all who
	// may deliver the same job share. A job of another fleet is an ErrForeign.
	Fleet func() string

	mu      sync.Mutex // one delivery at a time, so that highest is exact
	epoch   int        // grows when Redis has lost deliveries
	highest int64      // number that Redis has told in this epoch
}

// NewSender returns a sender. The name is that of one run of one process, of the
// form of a job's id.
func (c *Client) NewSender(name string) *Sender { return &Sender{client: c, name: name} }

// Mark says that Redis has taken a job. Keep it with the job.
type Mark struct {
	Sender string `json:"sender"`
	Number int64  `json:"number"`
}

// Errors of Send.
var (
	// ErrDeleted: Redis had the job and has it no more, without having lost
	// anything: somebody has removed it, or its result has expired.
	ErrDeleted = errors.New("the job was removed from RQ")
	// ErrForeign: another program's job has the id, or an earlier life of this one
	// still runs.
	ErrForeign = errors.New("another job has the id")
)

// Send delivers a job that RQ may have already: the same id and life is
// delivered once, a higher life again. known is the mark of a delivery that has
// been, or zero. The status is that of the job now.
func (s *Sender) Send(ctx context.Context, spec Spec, life int64, known Mark) (Mark, Status, error) {
	j, err := spec.prepare(s.client.serializer, s.client.now())
	if err != nil {
		return Mark{}, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	reply, err := s.push(ctx, j, life, known)
	if err != nil {
		return Mark{}, "", err
	}
	switch word(reply[0]) {
	case "deleted":
		return Mark{}, "", &morningai.Error{Code: morningai.CodeNotFound, Op: "send job", Detail: ErrDeleted.Error(), Err: ErrDeleted}
	case "foreign":
		return Mark{}, "", &morningai.Error{Code: morningai.CodeConflict, Op: "send job", Detail: ErrForeign.Error(), Err: ErrForeign}
	case "no parent":
		return Mark{}, "", notFound()
	}
	mark := Mark{word(reply[2]), number(reply[3])}
	if word(reply[0]) == "pushed" {
		s.highest = mark.Number
	}
	return mark, Status(word(reply[1])), nil
}

func (s *Sender) push(ctx context.Context, j *job, life int64, known Mark) ([]any, error) {
	for {
		reply, err := s.client.push(ctx, j, s.name+"-"+strconv.Itoa(s.epoch), strconv.FormatInt(life, 10), known, s.highest, s.fleet())
		if err != nil || word(reply[0]) != "lost" {
			return reply, err
		}
		s.epoch++
		s.highest = 0
	}
}

func (s *Sender) fleet() string {
	if s.Fleet == nil {
		return ""
	}
	return s.Fleet()
}

// Withdraw takes a job out of RQ whose sender wants it no more, whoever has sent it, or
// tells its worker to stop it. It reports whether nothing is left to be done: a job that
// runs is to be withdrawn again until it has ended.
func (s *Sender) Withdraw(ctx context.Context, id string) (bool, error) {
	reply, err := s.client.eval(ctx, scriptWatch, "withdraw", id, s.fleet())
	if err != nil {
		return false, err
	}
	switch status := Status(word(reply[0])); {
	case status == "foreign" || status.Ended():
		return true, nil
	case status != Started:
		err := s.client.Cancel(ctx, id)
		if errors.Is(err, morningai.ErrWrongState) {
			return false, nil // it has started meanwhile
		}
		return err == nil || errors.Is(err, morningai.ErrNotFound), err
	}
	if err := s.client.Stop(ctx, id); !errors.Is(err, morningai.ErrWrongState) {
		return false, err
	}
	return false, nil // its worker does not listen yet, or it has ended
}

// Look is what is seen of a job from afar.
type Look struct {
	Status  Status // "" if it is gone
	Begun   bool   // it has started, or may have before the next look
	Overdue bool   // it is on record as started, and nobody runs it any more
}

// staleAfter is how long a job that has no deadline on record may be silent.
const staleAfter = 150 * time.Second

// Look returns what is to be seen of jobs, at most a few hundred at a time.
func (s *Sender) Look(ctx context.Context, ids []string) ([]Look, error) {
	reply, err := s.client.eval(ctx, scriptWatch, append([]string{"look", s.stale()}, ids...)...)
	if err != nil {
		return nil, err
	}
	out := make([]Look, len(ids))
	for i := range out {
		parts, _ := reply[i].([]any)
		if len(parts) == 3 {
			out[i] = Look{Status(word(parts[0])), number(parts[1]) == 1, number(parts[2]) == 1}
		}
	}
	return out, nil
}

func (s *Sender) stale() string { return stamp(s.client.now().Add(-staleAfter)) }

// GiveUp fails a job that nobody runs any more, as RQ's own cleaning does where a
// worker is left to do it.
func (s *Sender) GiveUp(ctx context.Context, id string) error {
	_, err := s.client.eval(ctx, scriptWatch, "give up", id, s.stale(), packTrace(cleanedLate))
	return err
}

// Settle lets RQ remove a finished job after its usual time: its result has been
// recorded elsewhere.
func (s *Sender) Settle(ctx context.Context, id string) error {
	_, err := s.client.eval(ctx, scriptWatch, "settle", id, strconv.Itoa(defaultResultTTL))
	return err
}
