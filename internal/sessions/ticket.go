package sessions

import (
	"encoding/base64"
	"encoding/binary"
	"unicode/utf8"

	"github.com/RC918/morningai"
)

// ticket is what a claim's id says. Its lease is a random number that the
// engine compares, so that nobody makes one up.
type ticket struct {
	lease   morningai.Lease
	session morningai.SessionID
	here    bool
	attempt int
	node    string // that attempts show
}

const (
	ticketShared = 1 // the first byte
	ticketHere   = 2
	ticketFixed  = 1 + 16 + 8 + 8 + 16
)

// String is the id: visible, and safe in a path.
func (t ticket) String() string {
	b := make([]byte, 0, ticketFixed+binary.MaxVarintLen64+len(t.node))
	b = append(b, ticketShared)
	if t.here {
		b[0] = ticketHere
	}
	b = append(b, t.lease.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.lease.Claim))
	b = binary.BigEndian.AppendUint64(b, uint64(t.lease.Lease))
	b = append(b, t.session[:]...)
	b = binary.AppendUvarint(b, uint64(t.attempt))
	b = append(b, t.node...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func readTicket(id string) (ticket, bool) {
	if len(id) > base64.RawURLEncoding.EncodedLen(ticketFixed+binary.MaxVarintLen64+morningai.MaxName) {
		return ticket{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(b) <= ticketFixed || b[0] != ticketShared && b[0] != ticketHere {
		return ticket{}, false
	}
	t := ticket{here: b[0] == ticketHere, lease: morningai.Lease{ID: morningai.ID(b[1:17]),
		Claim: int64(binary.BigEndian.Uint64(b[17:])), Lease: int64(binary.BigEndian.Uint64(b[25:]))}, session: morningai.SessionID(b[33:49])}
	attempt, n := binary.Uvarint(b[ticketFixed:])
	t.attempt, t.node = int(attempt), string(b[ticketFixed+max(n, 0):])
	ok := n > 0 && attempt <= 1<<31 && utf8.ValidString(t.node) && !t.lease.ID.IsZero() && t.session != (morningai.SessionID{})
	return t, ok
}
