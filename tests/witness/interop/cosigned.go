// Cosigned checks witness cosignatures and consistency proofs with Go's own transparency-log code (the
// one behind sum.golang.org), which shares nothing with regalia:
//
//	cosigned note FILE LOGVKEY WITNESSVKEY...   prints who has signed, sorted
//	cosigned growth OLDNOTE REQUEST             checks an add-checkpoint body's proof
//
// It knows the log's Ed25519 signatures (type 0x01) and Ed25519 cosignatures (type 0x04); what else is
// on the note is unknown to it, and ignored. It builds with Debian's golang-golang-x-mod-dev:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build cosigned.go
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	err := errors.New("usage: cosigned note FILE LOGVKEY WITNESSVKEY... | cosigned growth OLDNOTE REQUEST")
	switch {
	case len(os.Args) > 3 && os.Args[1] == "note":
		err = checkNote(os.Args[2], os.Args[3], os.Args[4:])
	case len(os.Args) == 4 && os.Args[1] == "growth":
		err = checkGrowth(os.Args[2], os.Args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "NOT VERIFIED:", err)
		os.Exit(1)
	}
}

// cosigner verifies Ed25519 cosignatures of one witness.
type cosigner struct {
	name   string
	hash   uint32
	public ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }

func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	when := binary.BigEndian.Uint64(signature)
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", when, text)
	return ed25519.Verify(c.public, []byte(message), signature[8:])
}

func newCosigner(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("vkey: expected name+id+key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		return nil, errors.New("vkey: not an Ed25519 cosignature key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	if fmt.Sprintf("%x", sum[:4]) != parts[1] {
		return nil, errors.New("vkey: wrong id")
	}
	return cosigner{parts[0], binary.BigEndian.Uint32(sum[:4]), key[1:]}, nil
}

func checkNote(file, logKey string, witnessKeys []string) error {
	log, err := note.NewVerifier(logKey)
	if err != nil {
		return err
	}
	verifiers := []note.Verifier{log}
	for _, vkey := range witnessKeys {
		witness, err := newCosigner(vkey)
		if err != nil {
			return err
		}
		verifiers = append(verifiers, witness)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	opened, err := note.Open(data, note.VerifierList(verifiers...))
	if err != nil {
		return err
	}
	var names []string
	for _, signature := range opened.Sigs {
		names = append(names, signature.Name)
	}
	sort.Strings(names)
	fmt.Println(strings.Join(names, "\n"))
	return nil
}

func checkGrowth(oldNote, request string) error {
	oldData, err := os.ReadFile(oldNote)
	if err != nil {
		return err
	}
	old, err := parseTree(oldData)
	if err != nil {
		return err
	}
	body, err := os.ReadFile(request)
	if err != nil {
		return err
	}
	head, rest, found := bytes.Cut(body, []byte("\n\n"))
	if !found {
		return errors.New("request: no empty line")
	}
	lines := strings.Split(string(head), "\n")
	if lines[0] != "old "+strconv.FormatInt(old.N, 10) {
		return fmt.Errorf("request: %q is not about a tree of %d", lines[0], old.N)
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	grown, err := parseTree(rest)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, grown.N, grown.Hash, old.N, old.Hash)
}

// parseTree reads a checkpoint's size and root; its first line is the log's origin.
func parseTree(data []byte) (tlog.Tree, error) {
	lines := strings.Split(string(data), "\n")
	if len(lines) < 4 {
		return tlog.Tree{}, errors.New("checkpoint: too short")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	hash, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}
