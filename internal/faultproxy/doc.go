// Package faultproxy is a way over TCP that loses, delays and cuts when it is
// told to: for tests, and for drills, which stage outages on a user's machine. No
// server of ours is ever behind it unless it was started for that.
package faultproxy
