// Verify checks a Regalia log and receipts with Go's own transparency-log code (the one behind
// sum.golang.org), which shares nothing with regalia_verify:
//
//	verify LOGDIR VKEY [RECEIPT...]
//
// It opens the checkpoint with the log's Ed25519 key (other signatures are unknown to it, and
// ignored), recomputes the tree's root from the tiles, checks that every entry hashes to its leaf,
// and checks each receipt's inclusion proof against the receipt's own checkpoint. It prints counts
// and exits with 0, or the first fault and exits with 1.
//
// It builds with Debian's golang-golang-x-mod-dev and no download:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build verify.go
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: verify LOGDIR VKEY [RECEIPT...]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "NOT VERIFIED:", err)
		os.Exit(1)
	}
}

func run(dir, vkey string, receipts []string) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(signed, verifier)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := checkLog(dir, tree); err != nil {
		return err
	}
	for _, path := range receipts {
		if err := checkReceipt(path, verifier); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	fmt.Printf("entries %d\nreceipts %d\n", tree.N, len(receipts))
	return nil
}

// openCheckpoint verifies the note and reads its three lines.
func openCheckpoint(signed []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tlog.Tree{}, errors.New("not the three lines of a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// checkLog recomputes the root from the tiles and compares every entry with its leaf hash.
func checkLog(dir string, tree tlog.Tree) error {
	reader := tlog.TileHashReader(tree, &folder{dir})
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil {
		return fmt.Errorf("tiles: %w", err)
	}
	if root != tree.Hash {
		return errors.New("the tiles do not hash to the checkpoint's root")
	}
	for start := int64(0); start < tree.N; start += 1 << height {
		width := tree.N - start
		if width > 1<<height {
			width = 1 << height
		}
		entries, err := readBundle(dir, start>>height, int(width))
		if err != nil {
			return err
		}
		indexes := make([]int64, width)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, start+int64(i))
		}
		leaves, err := reader.ReadHashes(indexes)
		if err != nil {
			return fmt.Errorf("leaves from %d: %w", start, err)
		}
		for i, entry := range entries {
			if tlog.RecordHash(entry) != leaves[i] {
				return fmt.Errorf("entry %d does not hash to its leaf", start+int64(i))
			}
		}
	}
	return nil
}

// folder reads tiles; Go's paths name the height, which C2SP's leave out.
type folder struct{ dir string }

func (f *folder) Height() int { return height }

func (f *folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f *folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range tiles {
		path := "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
		data, err := os.ReadFile(filepath.Join(f.dir, path))
		if errors.Is(err, fs.ErrNotExist) { // a partial tile may have been replaced by the full one
			full, _, _ := strings.Cut(path, ".p/")
			data, err = os.ReadFile(filepath.Join(f.dir, full))
		}
		if err != nil {
			return nil, err
		}
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s is too short", path)
		}
		out = append(out, data[:tile.W*tlog.HashSize])
	}
	return out, nil
}

func readBundle(dir string, n int64, width int) ([][]byte, error) {
	path := tlog.Tile{H: height, L: -1, N: n, W: width}.Path()
	path = "tile/entries/" + strings.TrimPrefix(path, fmt.Sprintf("tile/%d/data/", height))
	data, err := os.ReadFile(filepath.Join(dir, path))
	if errors.Is(err, fs.ErrNotExist) {
		full, _, _ := strings.Cut(path, ".p/")
		data, err = os.ReadFile(filepath.Join(dir, full))
	}
	if err != nil {
		return nil, err
	}
	entries, err := splitBundle(data)
	if err != nil || len(entries) < width {
		return nil, fmt.Errorf("%s: %d entries of %d: %v", path, len(entries), width, err)
	}
	return entries[:width], nil
}

func splitBundle(data []byte) ([][]byte, error) {
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 {
			return entries, errors.New("cut off")
		}
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			return entries, errors.New("cut off")
		}
		entries = append(entries, data[2:2+length])
		data = data[2+length:]
	}
	return entries, nil
}

// checkReceipt reads a tlog-proof and checks that its entry is in the tree of its checkpoint.
func checkReceipt(path string, verifier note.Verifier) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, signed, found := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a tlog-proof with an extra line")
	}
	tree, err := openCheckpoint(signed, verifier)
	if err != nil {
		return err
	}
	entry, err := entryOf(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return fmt.Errorf("extra: %w", err)
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry))
}

func entryOf(extra string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(extra)
	if err != nil {
		return nil, err
	}
	var content struct {
		Entry []byte `json:"entry"`
	}
	err = json.Unmarshal(data, &content)
	return content.Entry, err
}
