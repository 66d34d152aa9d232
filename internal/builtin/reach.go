package builtin

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/RC918/morningai"
)

// notReachable lists the ranges of the IANA special-purpose address registries
// (IPv4 and IPv6, RFC 6890 and successors) that are not globally reachable, or
// for which the registry does not say so; multicast and the reserved blocks
// are added. Exceptions inside them are in reachable.
var notReachable = prefixes(
	"0.0.0.0/8",       // this network
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // shared (carrier-grade NAT)
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local, cloud metadata
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // 6to4 relays, deprecated
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarking
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, broadcast

	"2001::/23",     // protocol assignments: Teredo, benchmarking, ORCHID
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4
	"3fff::/20",     // documentation
)

// reachable lists what the registries name as globally reachable inside the
// ranges above.
var reachable = prefixes(
	"192.0.0.9/32", "192.0.0.10/32", // PCP and TURN anycast
	"2001:1::1/128", "2001:1::2/128", "2001:1::3/128", // PCP, TURN, DNS-SD anycast
	"2001:3::/32",     // AMT
	"2001:4:112::/48", // AS112
	"2001:20::/28",    // ORCHIDv2
	"2001:30::/28",    // drone remote id
)

var (
	globalUnicast = netip.MustParsePrefix("2000::/3") // all that IANA has handed out of IPv6
	nat64         = netip.MustParsePrefix("64:ff9b::/96")
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// guard decides which addresses requests may be sent to.
type guard struct {
	allow []netip.Prefix
}

// newGuard opens the ranges in allow beside everything that is globally
// reachable. A range of mapped IPv4 addresses stands for the IPv4 range.
func newGuard(allow []netip.Prefix) (guard, error) {
	g := guard{}
	for i, p := range allow {
		if !p.IsValid() {
			return guard{}, morningai.InvalidInput("set up the http task type", morningai.FieldError{
				Location: fmt.Sprintf("http_allow[%d]", i), Message: "must be an address range such as 10.0.0.0/8 or fd00::/8"})
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		g.allow = append(g.allow, p.Masked())
	}
	return g, nil
}

// permits reports whether a connection to addr may be made. An address with a
// zone is one of a local link and has to be allowed by its range.
func (g guard) permits(addr netip.Addr) bool {
	plain := addr.Unmap().WithZone("")
	if within(plain, g.allow) {
		return true
	}
	if !plain.IsValid() || addr.Zone() != "" {
		return false
	}
	if nat64.Contains(plain) {
		// The gateway connects to the IPv4 address in the last four bytes.
		b := plain.As16()
		return g.permits(netip.AddrFrom4([4]byte(b[12:])))
	}
	if plain.Is6() && !globalUnicast.Contains(plain) {
		return false
	}
	return within(plain, reachable) || !within(plain, notReachable)
}

func within(addr netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// control is a [net.Dialer] control function. It sees the address that is
// about to be connected to, after name resolution, so that neither a redirect
// nor a name that changes its address gets past it.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil || !g.permits(target.Addr()) {
		return errAddress
	}
	return nil
}

// CodeAddressNotAllowed is the code of the task error for an address that is
// neither globally reachable nor allowed.
const CodeAddressNotAllowed = "address_not_allowed"

// errAddress is what the guard answers. It does not name the address: whoever
// submits a task need not learn what a name resolves to inside the network.
var errAddress = &morningai.TaskError{
	Code: CodeAddressNotAllowed,
	Message: "the address is not globally reachable; the server's operator can open an address range " +
		"with --http-allow CIDR",
}

var errNumericHost = &morningai.TaskError{
	Code: CodeAddressNotAllowed,
	Message: "the host is a number that programs read in different ways; write an IPv4 address as four decimal numbers " +
		"(ranges that are not globally reachable need --http-allow CIDR)",
}

// oddNumericHost reports whether a host is an IPv4 address in one of the forms
// that some resolvers accept and others look up as a name: 127.1, 0x7f.1,
// 2130706433, 127.0.0.1 with a dot behind. The rule is the "ends in a number"
// check of the WHATWG URL standard.
func oddNumericHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return false
	}
	if strings.Trim(last, "0123456789") == "" {
		return true
	}
	digits, hex := strings.CutPrefix(strings.ToLower(last), "0x")
	return hex && strings.Trim(digits, "0123456789abcdef") == ""
}
