package wire_test

import "github.com/pollbridge/pollbridge/internal/wire"

type vector struct{ batch wire.Batch }

type badVector struct{ body, bytes []byte }

func goodVectors() []vector { return nil }

func bodyVariants() []badVector { return nil }

func badVectors() []badVector { return nil }
