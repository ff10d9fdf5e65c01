package schema

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookAfter is how often a file is looked at, at most.
const lookAfter = time.Second

// File is a FileDescriptorSet on disk. It is read again when it has changed.
type File struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	types  *Schema
	info   os.FileInfo
	looked time.Time
}

// OpenFile reads a file for the first time.
func OpenFile(path string, log *slog.Logger) (*File, error) {
	f := &File{path: path, log: log}
	if err := f.load(); err != nil {
		return nil, err
	}
	return f, nil
}

// current is what the file says, or said last where it cannot be read; nil for
// no File.
func (f *File) current() *Schema {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < lookAfter {
		return f.types
	}
	f.looked = time.Now()
	info, err := os.Stat(f.path)
	if err == nil && os.SameFile(info, f.info) && info.ModTime().Equal(f.info.ModTime()) && info.Size() == f.info.Size() {
		return f.types
	}
	if err == nil {
		err = f.load()
	}
	if err != nil {
		f.log.Warn("descriptors not read again", "file", f.path, "err", err)
	} else {
		f.log.Info("descriptors read again", "file", f.path)
	}
	return f.types
}

func (f *File) load() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return err
	}
	if len(data) > maxBytes {
		return fmt.Errorf("%s: longer than %d bytes", f.path, maxBytes)
	}
	types, err := Parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.types, f.info, f.looked = types, info, time.Now()
	return nil
}
