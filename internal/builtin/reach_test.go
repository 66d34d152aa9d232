package builtin

import (
	"net/netip"
	"testing"

	"github.com/RC918/morningai"
)

func TestGuardPermits(t *testing.T) {
	tests := []struct {
		addr string
		want bool
	}{
		{"1.1.1.1", true},
		{"8.8.8.8", true},
		{"93.184.216.34", true},
		{"192.0.0.9", true},
		{"192.0.0.10", true},
		{"192.31.196.1", true},
		{"192.52.193.1", true},
		{"192.175.48.1", true},
		{"100.63.255.255", true},
		{"100.128.0.0", true},
		{"172.15.255.255", true},
		{"172.32.0.0", true},
		{"198.17.255.255", true},
		{"198.20.0.0", true},
		{"223.255.255.255", true},

		{"0.0.0.0", false},
		{"0.1.2.3", false},
		{"10.0.0.1", false},
		{"100.64.0.1", false},
		{"100.127.255.255", false},
		{"127.0.0.1", false},
		{"127.255.255.254", false},
		{"169.254.169.254", false},
		{"172.16.0.1", false},
		{"172.31.255.255", false},
		{"192.0.0.1", false},
		{"192.0.0.8", false},
		{"192.0.0.170", false},
		{"192.0.2.1", false},
		{"192.88.99.1", false},
		{"192.168.1.1", false},
		{"198.18.0.1", false},
		{"198.19.255.255", false},
		{"198.51.100.7", false},
		{"203.0.113.9", false},
		{"224.0.0.1", false},
		{"239.255.255.250", false},
		{"240.0.0.1", false},
		{"255.255.255.255", false},

		{"2606:4700::1111", true},
		{"2001:4860:4860::8888", true},
		{"2001:1::1", true},
		{"2001:1::3", true},
		{"2001:3::1", true},
		{"2001:4:112::1", true},
		{"2001:20::1", true},
		{"2001:30::1", true},
		{"2001:200::1", true},
		{"2620:4f:8000::1", true},
		{"64:ff9b::808:808", true},       // NAT64 of 8.8.8.8
		{"::ffff:8.8.8.8", true},         // mapped
		{"64:ff9b::7f00:1", false},       // NAT64 of 127.0.0.1
		{"64:ff9b::a00:1", false},        // NAT64 of 10.0.0.1
		{"64:ff9b::a9fe:a9fe", false},    // NAT64 of 169.254.169.254
		{"64:ff9b:1::808:808", false},    // NAT64 of a local network
		{"::ffff:127.0.0.1", false},      // mapped
		{"::ffff:7f00:1", false},         // the same, in hex
		{"::ffff:10.1.2.3", false},       // mapped
		{"::ffff:0:127.0.0.1", false},    // IPv4-translated
		{"::127.0.0.1", false},           // IPv4-compatible
		{"::", false},                    // unspecified
		{"::1", false},                   // loopback
		{"100::1", false},                // discard only
		{"100:0:0:1::1", false},          // dummy prefix
		{"2001::1", false},               // Teredo
		{"2001:0:808:808::", false},      // Teredo
		{"2001:1::4", false},             // protocol assignments
		{"2001:2::1", false},             // benchmarking
		{"2001:10::1", false},            // ORCHID
		{"2001:db8::1", false},           // documentation
		{"2002:7f00:1::", false},         // 6to4 of 127.0.0.1
		{"2002:808:808::1", false},       // 6to4
		{"3fff::1", false},               // documentation
		{"4000::1", false},               // not handed out
		{"5f00::1", false},               // segment routing
		{"fc00::1", false},               // unique local
		{"fd12:3456::1", false},          // unique local
		{"fe80::1", false},               // link-local
		{"fec0::1", false},               // site-local
		{"ff02::1", false},               // multicast
		{"ff0e::1", false},               // multicast
		{"fe80::1%eth0", false},          // zone
		{"2606:4700::1111%eth0", false},  // zone
		{"::ffff:127.0.0.1%eth0", false}, // zone
	}
	g, err := newGuard(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if got := g.permits(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("permits(%s) = %v, want %v", tt.addr, got, tt.want)
		}
	}
	if g.permits(netip.Addr{}) {
		t.Error("the zero address is permitted")
	}
}

func TestGuardAllow(t *testing.T) {
	g, err := newGuard(prefixes("127.0.0.0/8", "::ffff:10.0.0.0/104", "fe80::/10", "fd00::/8"))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "::ffff:127.0.0.1": true, "64:ff9b::7f00:1": true,
		"10.9.9.9": true, "fe80::1%eth0": true, "fd00::1": true,
		"::1": false, "192.168.0.1": false, "fc00::1": false, "2002:7f00:1::": false,
	} {
		if got := g.permits(netip.MustParseAddr(addr)); got != want {
			t.Errorf("permits(%s) = %v, want %v", addr, got, want)
		}
	}
	for address, wantErr := range map[string]bool{
		"127.0.0.1:80": false, "[::ffff:127.0.0.1]:80": false, "192.168.0.1:80": true, "[::1]:443": true,
		"no address": true, "": true,
	} {
		if err := g.control("tcp", address, nil); (err != nil) != wantErr {
			t.Errorf("control(%q) = %v", address, err)
		}
	}
	if _, err := newGuard([]netip.Prefix{{}}); morningai.CodeOf(err) != morningai.CodeInvalidInput {
		t.Errorf("a zero prefix: %v, want invalid_input", err)
	}
}

func TestOddNumericHost(t *testing.T) {
	for host, want := range map[string]bool{
		"127.1": true, "0x7f.1": true, "0x7F000001": true, "2130706433": true, "0177.0.0.1": true, "127.0.0.1.": true,
		"0x": true, "a.0x": true, "1.2.3.4.5": true, "example.1": true, "01.2.3.4": true,
		"127.0.0.1": false, "::1": false, "::ffff:127.0.0.1": false, "example.com": false, "example.com.": false,
		"0xyz": false, "1e1": false, "123.example": false, ".": false, "": false, "fe80::1%eth0": false,
	} {
		if got := oddNumericHost(host); got != want {
			t.Errorf("oddNumericHost(%q) = %v, want %v", host, got, want)
		}
	}
}
