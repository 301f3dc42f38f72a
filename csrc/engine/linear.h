// Weights times activations: preparing a layer's input and cutting a product into fixed pieces.
#pragma once

#include <functional>
#include <initializer_list>

#include "kernels/table.h"
#include "system/buffer.h"

namespace qwen3cpu {

// The matrices that read one input, at most three.
class Readers {
 public:
  Readers(std::initializer_list<std::reference_wrapper<const Matrix>> readers) {
    for (const Matrix& reader : readers) readers_[n_++] = &reader;
  }
  const Matrix* const* begin() const { return readers_; }
  const Matrix* const* end() const { return readers_ + n_; }

 private:
  const Matrix* readers_[3] = {};
  int n_ = 0;
};

// The forms in which several matrices take their input.
class ActivationForms {
 public:
  explicit ActivationForms(const Readers& readers) {
    for (const Matrix* reader : readers) bits_ |= bit(activation_of(reader->format));
  }
  bool has(Activation form) const { return (bits_ & bit(form)) != 0; }

 private:
  static unsigned bit(Activation form) { return 1u << static_cast<unsigned>(form); }

  unsigned bits_ = 0;
};

// The input of one or several linear layers, [n_tokens, cols], in every form that their weights want.
//
// An input in two parts has 16 bits. The first part are int8 numbers, as the integer forms have them. The second part
// is their rounding error, in int8 with scales of its own. The product is the sum of the parts' products.
class PreparedInput {
 public:
  explicit PreparedInput(bool two_parts = false) : parts_(two_parts ? 2 : 1) {}

  // Room for any layer of at most `cols` columns.
  void reserve(Activation form, int n_tokens, int cols);
  // Converts token t's input x [cols]. Different tokens may be prepared by different threads.
  void prepare(const OpKernels& ops, Activation form, int cols, int t, const float* x);
  // Copies token `from_token` of another input, prepared for `cols` columns.
  void copy(Activation form, int cols, const PreparedInput& from, int from_token, int token);
  // The input, or its first part.
  Activations view(Activation form, int cols) const { return every(parts_, form, cols); }
  // Whether a matrix takes both parts. A head in q4x2 has a way of its own to do that, see forward.cc.
  bool has_both_parts_for(Format format) const {
    return parts_ == 2 && format != Format::q4x2 && activation_of(format) != Activation::f32;
  }
  // Both parts of an integer form as tokens of their own: token t's are 2 t and 2 t + 1.
  Activations both_parts(Activation form, int cols) const { return every(1, form, cols); }
  int64_t bytes() const;

 private:
  struct Int8 {
    Buffer<int8_t> q;
    Buffer<float> scale;
    Buffer<int16_t> sum;
  };
  // Each `parts`-th part, beginning with the first.
  Activations every(int parts, Activation form, int cols) const;
  void prepare_rest(const OpKernels& ops, Activation form, int cols, int64_t row, const float* x);
  Int8& int8(Activation form) { return form == Activation::i8g32 ? g32_ : g256_; }
  const Int8& int8(Activation form) const { return form == Activation::i8g32 ? g32_ : g256_; }

  int parts_;
  Buffer<float> f32_;
  Int8 g32_;
  Int8 g256_;
};

// Cuts the product of a matrix and n_tokens inputs into pieces for threads. A row tile's outputs are the same in any
// piece.
class Pieces {
 public:
  // matrices: number of such products that run side by side. The more there are, the longer pieces may be.
  Pieces(const Matrix& w, int n_tokens, int threads, int matrices = 1);

  struct Piece {
    int first_tile, tiles;
    int first_token, tokens;
  };
  int count() const { return tile_pieces_ * token_blocks_; }
  Piece operator[](int i) const;

 private:
  int tiles_;
  int tokens_;
  int tiles_per_piece_;
  int tile_pieces_;
  int token_blocks_;
};

// left [n] = the columns from `first` on of token t's input x [cols], less what its int8 numbers stand for. columns: of
// a scale.
void rounding_error(const Activations& int8, int columns, int t, const float* x, int first, int n, float* left);

// y[t * ldy + r] for the piece's rows and tokens; y points to row 0 of token 0 and has room for whole tiles.
void multiply(const IsaTable& isa, const Matrix& w, const PreparedInput& x, const Pieces::Piece& piece, float* y,
              int64_t ldy, uint8_t* scratch);

}  // namespace qwen3cpu
