package wire

import (
	"time"

	"github.com/RC918/morningai"
)

// Stats answers GET /v1/stats.
type Stats struct {
	States     map[morningai.State]int64 `json:"states" doc:"tasks by state; every state has an entry"`
	Throughput Throughput                `json:"throughput"`
	Fresh      morningai.Freshness       `json:"fresh" enum:"live,local,stale"`
	AsOf       time.Time                 `json:"as_of"`
}

// Throughput counts attempts that ended within the window, by what became of
// them, and tasks accepted.
type Throughput struct {
	Window    Duration `json:"window"`
	Enqueued  int64    `json:"enqueued"`
	Succeeded int64    `json:"succeeded"`
	Retried   int64    `json:"retried"`
	Failed    int64    `json:"failed"`
	Canceled  int64    `json:"canceled"`
}

// NewStats is the JSON form of counts.
func NewStats(s morningai.Stats) Stats {
	t := s.Throughput
	return Stats{States: s.States, Fresh: s.Fresh, AsOf: s.AsOf.UTC(),
		Throughput: Throughput{Window: Duration(t.Window), Enqueued: t.Enqueued, Succeeded: t.Succeeded,
			Retried: t.Retried, Failed: t.Failed, Canceled: t.Canceled}}
}

// Model is the way back; queues and sessions have their own routes.
func (s Stats) Model() morningai.Stats {
	t := s.Throughput
	return morningai.Stats{States: s.States, Fresh: s.Fresh, AsOf: s.AsOf,
		Throughput: morningai.Throughput{Window: time.Duration(t.Window), Enqueued: t.Enqueued, Succeeded: t.Succeeded,
			Retried: t.Retried, Failed: t.Failed, Canceled: t.Canceled}}
}

// Health answers GET /health.
type Health struct {
	Status  string      `json:"status" enum:"ok,degraded,down" doc:"down: tasks are not accepted"`
	Engine  string      `json:"engine" example:"sqlite"`
	Redis   RedisHealth `json:"redis"`
	Storage *Storage    `json:"storage,omitempty" doc:"of the embedded engine"`
	Journal *Journal    `json:"journal,omitempty" doc:"of a server that shares a Redis and keeps a journal"`
	Backups *Backups    `json:"backup,omitempty" doc:"of a server that makes backups by itself"`
	Workers int         `json:"workers" doc:"live worker sessions"`
	Version string      `json:"version"`
}

// RedisHealth is what the last real write to Redis said.
type RedisHealth struct {
	Status     string     `json:"status" enum:"up,partly,down,not configured" doc:"partly: some partitions of a Cluster are away, the others go on"`
	Cause      string     `json:"cause,omitempty"`
	Since      *time.Time `json:"since,omitempty"`
	Hint       string     `json:"hint,omitempty"`
	Partitions []int      `json:"partitions,omitempty" doc:"that are away"`
}

// Journal is what a server remembers of tasks that Redis may not have, or not
// any more.
type Journal struct {
	Status     string    `json:"status" enum:"ok,storage_full,storage_failed" doc:"ok, or the code of what keeps tasks from being accepted"`
	Cause      string    `json:"cause,omitempty"`
	Hint       string    `json:"hint,omitempty"`
	Entries    int64     `json:"entries" doc:"what Redis has still to be told"`
	Bytes      int64     `json:"bytes" doc:"of the files"`
	Limit      int64     `json:"limit" doc:"of the files in bytes; 0: none"`
	Tombstones time.Time `json:"tombstones_since" doc:"what ended since then is remembered, in case Redis comes back older than that"`
	// Unprotected names the nodes of the fleet that have none.
	Unprotected []string `json:"unprotected,omitempty" doc:"servers on the same Redis that keep no journal: what they accept is not protected"`
}

// Backups says how the backups fare that a server makes by itself.
type Backups struct {
	Status string     `json:"status" enum:"ok,none,failing" doc:"none: there has not been one yet"`
	LastAt *time.Time `json:"last_at,omitempty" doc:"when the newest one was begun"`
	Age    *Duration  `json:"age,omitempty" doc:"for how long that was"`
	File   string     `json:"file,omitempty" doc:"its name"`
	Bytes  int64      `json:"bytes,omitempty"`
	Next   *time.Time `json:"next_at,omitempty" doc:"when the next one is due"`
	Cause  string     `json:"cause,omitempty"`
	Hint   string     `json:"hint,omitempty"`
	Since  *time.Time `json:"since,omitempty" doc:"when it began to fail"`
	Made   int64      `json:"-"` // since the server started
	Failed int64      `json:"-"`
}

// Storage is what the last real write said.
type Storage struct {
	Status string     `json:"status" enum:"ok,storage_full,storage_failed" doc:"ok, or the code of what keeps tasks from being accepted"`
	Cause  string     `json:"cause,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
	Hint   string     `json:"hint,omitempty"`
}

// Status is a body that says one thing.
type Status struct {
	Status string `json:"status"`
}

// Live answers GET /livez.
type Live struct {
	Service   string `json:"service" enum:"morningai"`
	Version   string `json:"version"`
	Instance  string `json:"instance,omitempty" doc:"names this run of the server"`
	Documents string `json:"documents,omitempty" doc:"tells a program on the same machine whether the server answers from the same folder"`
}

// Service is the name by which a client knows the server.
const Service = "morningai"

// Problem is the body of every error, an RFC 9457 problem.
type Problem struct {
	Title  string                 `json:"title"`
	Status int                    `json:"status"`
	Code   morningai.Code         `json:"code" doc:"to branch on"`
	Detail string                 `json:"detail"`
	Errors []morningai.FieldError `json:"errors,omitempty" doc:"the fields that are wrong"`
	ID     morningai.ID           `json:"id,omitzero" format:"uuid" doc:"with accept_unknown: of the task that may have been accepted; repeat the request with it to learn"`
	IDs    []morningai.ID         `json:"ids,omitempty" doc:"the same for a batch: the ids of its tasks, in order"`
}

// Problem details have this media type, everything else is application/json.
const ProblemType = "application/problem+json"

// BackupType is the media type of a backup.
const BackupType = "application/vnd.morningai.backup"
