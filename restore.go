package morningai

import "context"

// Snapshotter is an engine that can show all it holds as of one moment, while
// work goes on.
type Snapshotter interface {
	// Snapshot calls each with whole records, some at a time, in order of
	// acceptance, all of them as of one moment after the call. An error of each
	// ends it. Writes are not held up; what they leave behind takes more space on
	// the disk until it returns.
	Snapshot(ctx context.Context, each func([]Record) error) error
}

// Restorer is an engine that remembers which life its data are in, and that a
// backup is being put into it. Both outlive restarts.
type Restorer interface {
	// RestoreState returns what is remembered; zero values of data that were
	// never restored.
	RestoreState(ctx context.Context) (RestoreState, error)
	// SetRestoreState replaces it, in one durable write. The generation never
	// falls: the larger of the stored and the given one is kept.
	SetRestoreState(ctx context.Context, s RestoreState) error
}

// RestoreState says where the data of an engine stand.
type RestoreState struct {
	// Generation grows with each restore, beyond that of the backup too.
	Generation int64
	// Unfinished names the backup that is being put in: the data are not
	// complete, and must not be worked on. 0: none is.
	Unfinished int64
}
