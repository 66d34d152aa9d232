// Package backup writes all that an engine holds into one file, reads it back
// with nothing taken on trust, and moves it from one engine to another.
//
// The file is a stream: a header, blocks, an end. A block has a kind, its length
// stored and plain, a checksum, and zstd data; records are packed as
// [morningai.Record.AppendBinary] does it. The last blocks are the manifest, which
// counts what came before it, and, if there is a key, a signature of everything so
// far; the end has the SHA-256 of the whole file before it. So each single bit is
// covered, whoever reads needs little memory, and a file that ends early has no
// end. What decides about a newer form is the header alone.
//
// It speaks the engine contract and knows no engine.
package backup
