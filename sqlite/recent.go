package sqlite

import "github.com/RC918/morningai"

// recentIDs tells ids that are certainly new from those to look up in the
// table: every stored id made after floor is in one of the two generations.
// Only version 7 ids, which carry their time, can be known to be new. The
// writer owns it.
type recentIDs struct {
	floor    int64 // milliseconds
	cur, old map[morningai.ID]struct{}
}

const recentMax = 32 << 10

func newRecentIDs(floor int64) recentIDs {
	return recentIDs{floor: floor, cur: map[morningai.ID]struct{}{}}
}

func millis(id morningai.ID) int64 {
	if id[6]>>4 != 7 {
		return 0
	}
	return prefix(id)
}

// prefix is the place where version 7 ids have their time. No id sorts above
// the prefix of the last one, whatever its version.
func prefix(id morningai.ID) int64 {
	return int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
}

// isNew reports that the id is certainly not stored.
func (s *recentIDs) isNew(id morningai.ID) bool {
	if millis(id) <= s.floor {
		return false
	}
	if _, in := s.cur[id]; in {
		return false
	}
	_, in := s.old[id]
	return !in
}

// add notes an id that is about to be stored.
func (s *recentIDs) add(id morningai.ID) {
	if millis(id) <= s.floor {
		return
	}
	if len(s.cur) >= recentMax {
		for gone := range s.old {
			s.floor = max(s.floor, millis(gone))
		}
		s.old, s.cur = s.cur, make(map[morningai.ID]struct{}, recentMax)
	}
	s.cur[id] = struct{}{}
}
