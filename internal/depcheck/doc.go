// Package depcheck holds the rules about the shape of this repository as tests:
// who may import whom, how deep and how long things may get, which words do not
// belong here, and that the exported API mentions no dependency's types. Each
// rule says why it exists, and is tried on a tree that breaks it.
package depcheck
