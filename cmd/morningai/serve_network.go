package main

import (
	"errors"
	"net/netip"
)

// network is a value of --http-allow, whose mistakes it words for people.
type network struct{ netip.Prefix }

// UnmarshalText reads a network. A single address is refused without a length,
// since the whole network may have been meant.
func (n *network) UnmarshalText(text []byte) (err error) {
	if n.Prefix, err = netip.ParsePrefix(string(text)); err != nil {
		return errors.New("must be a network such as 10.0.0.0/8, or one address such as 10.1.2.3/32")
	}
	return nil
}

func prefixes(list []network) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, n := range list {
		out[i] = n.Prefix
	}
	return out
}
