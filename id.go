package morningai

import (
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ID identifies a task, and is the form of a trace id too: a UUID, made as
// version 7 (RFC 9562) by the node that accepts the task, so that ids sort by
// the time of acceptance.
type ID [16]byte

// NewID returns a fresh version 7 UUID. Ids made by one process grow strictly.
// It fails only if the system has no source of randomness.
func NewID() (ID, error) {
	u, err := uuid.NewV7()
	if err != nil {
		return ID{}, fmt.Errorf("make a task id: %w", err)
	}
	return ID(u), nil
}

// ParseID reads the standard form of a UUID, 36 characters with hyphens, in
// either case. Anything else is an [ErrInvalidInput].
func ParseID(s string) (ID, error) {
	var id ID
	err := id.UnmarshalText([]byte(s))
	return id, err
}

// IsZero reports whether the id is unset.
func (id ID) IsZero() bool { return id == ID{} }

// Time is the moment a version 7 id was made, to the millisecond. For an id of
// another version it is the zero time.
func (id ID) Time() time.Time {
	if id[6]>>4 != 7 {
		return time.Time{}
	}
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	return time.UnixMilli(ms).UTC()
}

// String returns the standard form in lower case.
func (id ID) String() string {
	var b [36]byte
	id.encode(b[:])
	return string(b[:])
}

func (id ID) encode(dst []byte) {
	hex.Encode(dst[0:8], id[0:4])
	hex.Encode(dst[9:13], id[4:6])
	hex.Encode(dst[14:18], id[6:8])
	hex.Encode(dst[19:23], id[8:10])
	hex.Encode(dst[24:36], id[10:16])
	dst[8], dst[13], dst[18], dst[23] = '-', '-', '-', '-'
}

// MarshalText implements [encoding.TextMarshaler].
func (id ID) MarshalText() ([]byte, error) {
	b := make([]byte, 36)
	id.encode(b)
	return b, nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]; see [ParseID].
func (id *ID) UnmarshalText(text []byte) error {
	bad := func() error {
		return &Error{Code: CodeInvalidInput, Op: "parse id", Detail: "an id is a UUID in its standard form of 36 characters"}
	}
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return bad()
	}
	var packed [32]byte
	n := copy(packed[:], text[:8])
	n += copy(packed[n:], text[9:13])
	n += copy(packed[n:], text[14:18])
	n += copy(packed[n:], text[19:23])
	copy(packed[n:], text[24:])
	var out ID
	if _, err := hex.Decode(out[:], packed[:]); err != nil {
		return bad()
	}
	*id = out
	return nil
}

// Value implements [driver.Valuer]: ids are stored as 16 bytes.
func (id ID) Value() (driver.Value, error) { return id[:], nil }

// Part is which of n parts of an engine's storage a task belongs to.
func (id ID) Part(n int) int {
	if n < 2 {
		return 0
	}
	return int(id[len(id)-1]) % n
}
