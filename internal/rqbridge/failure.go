package rqbridge

import (
	"strings"

	"github.com/RC918/morningai/rq"
)

// failure is the code for the traceback of a job: what RQ itself says of a lost
// worker and of a timeout is told from what a function raises.
func failure(r *rq.Result) string {
	last := r.Exception()
	switch {
	case strings.Contains(last, "AbandonedJobError"), strings.Contains(last, "Work-horse terminated unexpectedly"),
		strings.Contains(last, "Work-horse process was terminated unexpectedly"):
		return codeWorkerLost
	case strings.Contains(last, "JobTimeoutException"):
		return codeTimeout
	}
	return codeFailed
}
