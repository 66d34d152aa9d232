package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/RC918/morningai"
)

const (
	idempotencyHeader = "Idempotency-Key"
	maxKey            = 255
)

// idempotencyKey returns the request's key, "" if there is none.
func (c *call) idempotencyKey() (string, error) {
	given := c.r.Header.Values(idempotencyHeader)
	if len(given) == 0 {
		return "", nil
	}
	key := given[0]
	unseen := func(r rune) bool { return r < ' ' || r > '~' }
	if len(given) > 1 || key == "" || len(key) > maxKey || strings.ContainsFunc(key, unseen) {
		return "", wrongField("header."+idempotencyHeader, "must be given once, as 1 to 255 visible ASCII characters")
	}
	return key, nil
}

// keyID derives the id of a task from a key and the name of the token it
// belongs to, so that every node derives the same without asking another. It
// is a UUID of version 8, the version for schemes of one's own (RFC 9562,
// section 5.8). Neither part contains a NUL, which makes the pair unambiguous.
func keyID(who, key string) morningai.ID {
	digest := sha256.Sum256([]byte("morningai idempotency key\x00" + who + "\x00" + key))
	id := morningai.ID(digest[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// fingerprint stands for the body of a request: what was asked for, however it
// was spaced or ordered. Two requests with one key and different fingerprints
// are a conflict, also if they differ only in a delay or a retention.
func fingerprint(body any) (string, error) {
	written, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(written)
	return hex.EncodeToString(digest[:16]), nil
}
