package chaos

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mostOthers is the share of the machine that other programs may use while something
// is timed: more, and being late proves nothing.
const mostOthers = 0.3

// usage is what the machine's processors have done so far, in ticks of the system.
type usage struct{ all, busy, own int64 }

// usage looks at the processors; nil on systems that do not tell.
func (f *fleet) usage() *usage {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(first) // cpu user nice system idle iowait irq softirq steal
	if len(fields) < 9 {
		return nil
	}
	var u usage
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil
		}
		u.all += n
		if i != 3 && i != 4 {
			u.busy += n
		}
	}
	pids := []int{os.Getpid(), f.redis.PID()}
	for _, s := range f.more {
		pids = append(pids, s.PID())
	}
	for _, n := range f.nodes {
		pids = append(pids, n.cmd.Process.Pid)
	}
	for _, pid := range pids {
		u.own += ticks(pid)
	}
	return &u
}

// ticks is how long a process has run, with those of its children that have ended.
func ticks(pid int) (sum int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0 // it has ended
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may have spaces
	fields := strings.Fields(rest)
	for i := 11; i < 15 && i < len(fields); i++ {
		if n, err := strconv.ParseInt(fields[i], 10, 64); err == nil {
			sum += n
		}
	}
	return sum
}

// others is the share of the machine that other programs have used between two
// looks; 0 if that is not known.
func others(from, to *usage) float64 {
	if from == nil || to == nil || to.all <= from.all {
		return 0
	}
	return max(float64(to.busy-from.busy-(to.own-from.own))/float64(to.all-from.all), 0)
}

// late notes that something took longer than is promised, while other programs used
// a share of the machine.
func (f *fleet) late(share float64, what string, args ...any) {
	if share <= mostOthers {
		f.broke(what, args...)
		return
	}
	f.void = fmt.Sprintf("other programs used %.0f %% of this machine, and "+what, append([]any{100 * share}, args...)...)
}
