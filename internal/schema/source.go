package schema

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxServices bounds what a Source keeps.
	maxServices = 256
	// freshFor is how long a service's types count without question. The next
	// use after that has the server asked again, and does not wait for it.
	freshFor = time.Minute
	// askAgainAfter is how soon the server is asked again for what it did not
	// have.
	askAgainAfter = time.Second
	// askTimeout bounds one question.
	askTimeout = 5 * time.Second
)

// Source knows the methods of one server: from a file of descriptors, and else
// from the server itself. It may be used by any goroutine.
type Source struct {
	conn grpc.ClientConnInterface
	file *File // nil: none
	log  *slog.Logger

	mu       sync.Mutex
	services map[protoreflect.FullName]*entry
	closed   bool
	asking   sync.WaitGroup // questions that nobody waits for
}

// entry is what is known of one service.
type entry struct {
	turn chan struct{} // of capacity 1: full while somebody asks

	// Guarded by Source.mu.
	types *Schema // nil: never had
	err   error   // the last answer's
	asked time.Time
	used  time.Time
}

// NewSource returns a Source that asks over conn. It logs what it does without
// anybody waiting.
func NewSource(conn grpc.ClientConnInterface, file *File, log *slog.Logger) *Source {
	return &Source{conn: conn, file: file, log: log, services: make(map[protoreflect.FullName]*entry)}
}

// Method finds a method by its name, "/pkg.Service/Method". The errors are those
// of Reflect and Schema.Method.
func (s *Source) Method(ctx context.Context, name string) (*Method, error) {
	service, method := split(name)
	if types := s.file.current(); types != nil && types.Has(service) {
		return types.Method(service, method)
	}
	e := s.entry(service)
	types, _ := s.read(e)
	if types == nil {
		return s.ask(ctx, e, service, method, askAgainAfter)
	}
	found, err := types.Method(service, method)
	if err != nil {
		return s.ask(ctx, e, service, method, askAgainAfter)
	}
	s.refresh(e, service)
	return found, nil
}

// Newer asks the server again for a method whose types do not know all that a
// message has. It returns what is known then, which may be the same.
func (s *Source) Newer(ctx context.Context, name string) (*Method, error) {
	service, method := split(name)
	if types := s.file.current(); types != nil && types.Has(service) {
		return types.Method(service, method)
	}
	return s.ask(ctx, s.entry(service), service, method, askAgainAfter)
}

// Close waits for questions that nobody waits for. The conn is the caller's.
func (s *Source) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.asking.Wait()
}

func split(name string) (protoreflect.FullName, protoreflect.Name) {
	service, method, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	return protoreflect.FullName(service), protoreflect.Name(method)
}

// entry is the service's, which is new where there was none.
func (s *Source) entry(service protoreflect.FullName) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.services[service]
	if e == nil {
		s.makeRoom()
		e = &entry{turn: make(chan struct{}, 1)}
		s.services[service] = e
	}
	e.used = time.Now()
	return e
}

// makeRoom forgets the service that was not used for longest. s.mu is held.
func (s *Source) makeRoom() {
	if len(s.services) < maxServices {
		return
	}
	var oldest protoreflect.FullName
	for name, e := range s.services {
		if oldest == "" || e.used.Before(s.services[oldest].used) {
			oldest = name
		}
	}
	delete(s.services, oldest)
}

func (s *Source) read(e *entry) (*Schema, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.types, time.Since(e.asked)
}

// ask has the server asked, unless that was done since age, and looks the method
// up in what is known then. One asks at a time, others wait for the answer.
func (s *Source) ask(ctx context.Context, e *entry, service protoreflect.FullName, method protoreflect.Name, age time.Duration) (*Method, error) {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-e.turn }()
	s.mu.Lock()
	types, err, asked := e.types, e.err, e.asked
	s.mu.Unlock()
	if time.Since(asked) >= age {
		types, err = s.question(ctx, e, service)
	}
	if types == nil {
		return nil, err
	}
	return types.Method(service, method)
}

// question asks the server and keeps the answer. Types that were known count on
// where the server cannot say.
func (s *Source) question(ctx context.Context, e *entry, service protoreflect.FullName) (*Schema, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	types, err := Reflect(ctx, s.conn, service)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() == nil || err == nil {
		e.asked = time.Now() // who gave up asking says nothing about the server
	}
	e.err = err
	_, gone := errors.AsType[*UnknownError](err)
	if err == nil || gone {
		e.types = types
	}
	return e.types, err
}

// refresh asks about a service that was not asked about for a while.
func (s *Source) refresh(e *entry, service protoreflect.FullName) {
	s.mu.Lock()
	due := time.Since(e.asked) >= freshFor && !s.closed
	if due {
		s.asking.Add(1)
	}
	s.mu.Unlock()
	if !due {
		return
	}
	select {
	case e.turn <- struct{}{}:
	default:
		s.asking.Done()
		return
	}
	go func() {
		defer s.asking.Done()
		defer func() { <-e.turn }()
		if _, err := s.question(context.Background(), e, service); err != nil {
			s.log.Warn("types not read again", "service", string(service), "err", err)
		}
	}()
}
