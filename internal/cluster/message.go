package cluster

import (
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	pb "github.com/pollbridge/pollbridge/internal/cluster/clusterpb"
)

// headRoom is more than all of a message takes beside its batch.
const headRoom = 1 << 10

// lane numbers what one end of a link says to the other.
type lane struct {
	mu   sync.Mutex
	last uint64
}

// send says m, in several messages if its batch is longer than one may be.
func (l *lane) send(c *Cluster, p *peer, m *pb.Message) error {
	room := max(c.cfg.Fabric.MaxPayload()-headRoom, headRoom)
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := m.Batch
	for len(rest) > room {
		l.last++
		part := &pb.Message{Link: m.Link, ToOwner: m.ToOwner, Number: l.last, Batch: rest[:room], More: true}
		if err := c.send(p, part); err != nil {
			return err
		}
		rest = rest[room:]
	}
	l.last++
	m.Number, m.Batch = l.last, rest
	return c.send(p, m)
}

// inlet puts together what the other end's lane says.
type inlet struct {
	last uint64
	part []byte // of a batch that goes on
}

var (
	errGap       = errors.New("a message is missing")
	errTooLong   = errors.New("a batch over the limit")
	errNotWanted = errors.New("a batch without credit")
)

// take returns m with the whole of its batch; nil if more of it is to come, or if
// m came before. After an error nothing more can be taken.
func (in *inlet) take(m *pb.Message, limit int) (*pb.Message, error) {
	switch {
	case m.Number <= in.last:
		return nil, nil
	case m.Number != in.last+1:
		return nil, fmt.Errorf("%w: %d came after %d", errGap, m.Number, in.last)
	case len(in.part)+len(m.Batch) > limit:
		return nil, fmt.Errorf("%w of %d bytes", errTooLong, limit)
	}
	in.last = m.Number
	if m.More {
		in.part = append(in.part, m.Batch...)
		return nil, nil
	}
	if in.part != nil {
		m.Batch = append(in.part, m.Batch...)
		in.part = nil
	}
	return m, nil
}

// parse reads a message. The error is for one that no bridge sends.
func parse(data []byte) (*pb.Message, error) {
	m := new(pb.Message)
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, err
	}
	if m.From == 0 {
		return nil, errors.New("a message of no bridge")
	}
	if m.Link == 0 && m.Number != 0 || m.Link != 0 && m.Number == 0 && m.Done == nil {
		return nil, errors.New("a message with a number and no link, or the other way round")
	}
	return m, nil
}
