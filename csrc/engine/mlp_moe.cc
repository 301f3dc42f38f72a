// Router, gate and up projections of the chosen experts, their down projections, and the weighted sum.
//
// A row is one token in one of its experts. Rows are sorted by expert, so that an expert's weights are read once for
// all of its tokens. A row's results do not depend on other rows, and a token adds up its experts in the order of their
// numbers. So other tokens change no bit.
#include "engine/mlp_moe.h"

#include <algorithm>

#include "engine/pass.h"
#include "packing/pack.h"
#include "system/error.h"
#include "system/memory.h"

namespace qwen3cpu {
namespace {

// Up to this many tokens are routed by one thread, because that takes less time than another phase.
constexpr int kRoutedAlone = 16;

}  // namespace

MoeMlp::MoeMlp(const Config& c, const Tensors& tensors, const std::string& prefix)
    : router_(tensors.matrix(prefix + "gate.weight", c.experts.count, c.hidden_size)),
      chosen_(c.experts.chosen),
      fetched_(c.experts.fetched),
      normalised_(c.experts.normalised),
      stride_(spread_rows(c.experts.width)),
      logits_stride_(padded_rows(c.experts.count)) {
  for (int e = 0; e < c.experts.count; ++e) {
    const std::string name = prefix + "experts." + std::to_string(e) + ".";
    const Expert& made =
        experts_.emplace_back(Expert{tensors.matrix(name + "gate_proj.weight", c.experts.width, c.hidden_size),
                                     tensors.matrix(name + "up_proj.weight", c.experts.width, c.hidden_size),
                                     tensors.matrix(name + "down_proj.weight", c.hidden_size, c.experts.width)});
    const Expert& first = experts_.front();
    if (made.gate_proj.format != first.gate_proj.format || made.up_proj.format != first.up_proj.format ||
        made.down_proj.format != first.down_proj.format)
      throw Error(name + "gate_proj.weight, up_proj, down_proj: expected the formats of expert 0");
  }
}

std::vector<const Matrix*> MoeMlp::matrices() const {
  std::vector<const Matrix*> all = {&router_};
  for (const Expert& e : experts_) all.insert(all.end(), {&e.gate_proj, &e.up_proj, &e.down_proj});
  return all;
}

void MoeMlp::reserve(int n_tokens, Workspace& ws) const {
  const int64_t rows = int64_t{n_tokens} * chosen_;
  const Expert& first = experts_.front();
  ws.router_logits.reserve(n_tokens * logits_stride_);
  ws.routing.reserve(n_tokens, router_.rows, chosen_);
  ws.gate.reserve(rows * stride_);
  ws.up.reserve(rows * stride_);
  ws.expert_output.reserve(rows * spread_rows(first.down_proj.rows));
  if (n_tokens > 1)
    for (const Matrix* reader : {&first.gate_proj, &first.up_proj})
      ws.gathered_input.reserve(activation_of(reader->format), static_cast<int>(rows), reader->cols);
  ws.expert_input.reserve(activation_of(first.down_proj.format), static_cast<int>(rows), first.down_proj.cols);
}

void MoeMlp::add(Team& team, Pass& pass) const {
  route(team, pass);
  if (pass.n_tokens > 1) gather(team, pass);
  gate_and_up(team, pass);
  show(team, pass);
  down(team, pass);
  add_up(team, pass);
}

void MoeMlp::route(Team& team, Pass& pass) const {
  Workspace& ws = pass.workspace;
  float* logits = ws.router_logits.get();
  const Pieces pieces(router_, pass.n_tokens, team.size());
  team.for_each(pieces.count(), [&](int i) { pass.multiply(team, router_, pieces[i], logits, logits_stride_); });
  const auto choose = [&](int t) {
    pass.isa.ops.route(logits + t * logits_stride_, router_.rows, chosen_, normalised_, ws.routing.experts_of(t),
                       ws.routing.weights_of(t));
  };
  const bool alone = pass.n_tokens <= kRoutedAlone;
  if (!alone) team.for_each(pass.n_tokens, choose);
  team.for_each(1, [&](int) {
    for (int t = 0; alone && t < pass.n_tokens; ++t) choose(t);
    ws.routing.sort(pass.n_tokens);
    count_pieces(ws.routing, team.size());
    if (fetched_) fetch(ws.routing);
  });
}

// Asks the system for all chosen experts at once, which keeps the disk busier than waiting for each page.
void MoeMlp::fetch(const Routing& routing) const {
  for (const Routing::Share& share : routing.shares()) {
    const Expert& expert = experts_[static_cast<size_t>(share.expert)];
    for (const Matrix* m : {&expert.gate_proj, &expert.up_proj, &expert.down_proj})
      will_need(m->data, matrix_bytes(m->format, m->rows, m->cols));
  }
}

// Copies the prepared inputs of all rows, those of an expert side by side. One token needs no copies: its rows all read
// the same input.
void MoeMlp::gather(Team& team, Pass& pass) const {
  Workspace& ws = pass.workspace;
  const ActivationForms forms({experts_.front().gate_proj, experts_.front().up_proj});
  const int cols = router_.cols;
  team.for_each(pass.n_tokens * chosen_, [&](int row) {
    for (int j = 0; j < kActivations; ++j) {
      const auto form = static_cast<Activation>(j);
      if (forms.has(form)) ws.gathered_input.copy(form, cols, ws.input, ws.routing.token_of(row), row);
    }
  });
}

// Expert 0's matrix of a product. All experts have matrices of the same shape and format.
const Matrix& MoeMlp::like(Routing::Product product) const {
  return product == Routing::kGateAndUp ? experts_.front().gate_proj : experts_.front().down_proj;
}

// Notes where the pieces of each share end among the pieces of all. Called by one thread; all threads then look up
// their pieces there.
void MoeMlp::count_pieces(Routing& routing, int threads) const {
  const auto matrices = static_cast<int>(routing.shares().size());
  for (const auto product : {Routing::kGateAndUp, Routing::kDown}) {
    int pieces = 0;
    for (Routing::Share& share : routing.shares())
      share.end[product] = pieces += Pieces(like(product), share.rows, threads, matrices).count();
    routing.pieces[product].store(pieces, std::memory_order_relaxed);
  }
}

template <class Body>
void MoeMlp::for_pieces(Team& team, const Routing& routing, Routing::Product product, Body&& body) const {
  team.for_each(routing.pieces[product], [&](int i) {
    const std::vector<Routing::Share>& shares = routing.shares();
    const auto share = std::upper_bound(shares.begin(), shares.end(), i, [&](int piece, const Routing::Share& each) {
      return piece < each.end[product];
    });
    const Pieces pieces(like(product), share->rows, team.size(), static_cast<int>(shares.size()));
    body(*share, pieces[i - (share->end[product] - pieces.count())]);
  });
}

void MoeMlp::gate_and_up(Team& team, Pass& pass) const {
  Workspace& ws = pass.workspace;
  const bool one = pass.n_tokens == 1;
  const PreparedInput& input = one ? ws.input : ws.gathered_input;
  for_pieces(team, ws.routing, Routing::kGateAndUp, [&](const Routing::Share& share, Pieces::Piece piece) {
    const Expert& expert = experts_[static_cast<size_t>(share.expert)];
    // A single token's input is row 0 for all experts, while its outputs begin at row `first_row`.
    const int64_t ahead = one ? share.first_row * stride_ : 0;
    float *gates = ws.gate.get() + ahead, *ups = ws.up.get() + ahead;
    if (!one) piece.first_token += share.first_row;
    multiply(pass.isa, expert.gate_proj, input, piece, gates, stride_, pass.scratch(team));
    multiply(pass.isa, expert.up_proj, input, piece, ups, stride_, pass.scratch(team));
    const int column = piece.first_tile * kTileRows;
    for (int t = piece.first_token; t < piece.first_token + piece.tokens; ++t) {
      float* gate = gates + t * stride_ + column;
      pass.isa.ops.silu_mul(gate, ups + t * stride_ + column, piece.tiles * kTileRows, gate);
    }
  });
}

// Copies choices and inputs of the down projections to the caller's arrays (LayerInputs).
void MoeMlp::show(Team& team, Pass& pass) const {
  const LayerInputs& to = pass.inputs;
  if (to.experts == nullptr && to.chosen == nullptr) return;
  Workspace& ws = pass.workspace;
  const int64_t width = experts_.front().down_proj.cols;
  team.for_each(pass.n_tokens, [&](int t) {
    for (int j = 0; j < chosen_; ++j) {
      const int64_t choice = int64_t{t} * chosen_ + j;
      if (to.chosen != nullptr) to.chosen[choice] = ws.routing.experts_of(t)[j];
      if (to.experts != nullptr)
        std::copy_n(ws.gate.get() + ws.routing.row_of(t, j) * stride_, width, to.experts + choice * width);
    }
  });
}

void MoeMlp::down(Team& team, Pass& pass) const {
  Workspace& ws = pass.workspace;
  const Matrix& reader = like(Routing::kDown);
  const Activation form = activation_of(reader.format);
  team.for_each(pass.n_tokens * chosen_, [&](int row) {
    ws.expert_input.prepare(pass.isa.ops, form, reader.cols, row, ws.gate.get() + row * stride_);
  });
  for_pieces(team, ws.routing, Routing::kDown, [&](const Routing::Share& share, Pieces::Piece piece) {
    piece.first_token += share.first_row;
    multiply(pass.isa, experts_[static_cast<size_t>(share.expert)].down_proj, ws.expert_input, piece,
             ws.expert_output.get(), pass.hidden_stride, pass.scratch(team));
  });
}

// x += sum of weight * output over a token's experts, in the order of their numbers.
void MoeMlp::add_up(Team& team, Pass& pass) const {
  Workspace& ws = pass.workspace;
  const int hidden = pass.config.hidden_size;
  team.for_each(pass.n_tokens, [&](int t) {
    float* sum = ws.projected.get() + t * pass.hidden_stride;
    std::fill_n(sum, hidden, 0.0f);
    for (int j = 0; j < chosen_; ++j)
      pass.isa.ops.add_scaled(ws.expert_output.get() + ws.routing.row_of(t, j) * pass.hidden_stride,
                              ws.routing.weights_of(t)[j], hidden, sum);
    pass.isa.ops.add(sum, nullptr, hidden, ws.x.get() + t * pass.hidden_stride);
  });
}

}  // namespace qwen3cpu
