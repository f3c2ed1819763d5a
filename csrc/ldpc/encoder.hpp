// Systematic encoding by rotations and XORs of packed columns: an Encoder is a code's plan, made once and used for many blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "encoder_kernel.hpp"
#include "ldpc.hpp"

namespace featcodec::ldpc {

class Encoder {
public:
    // Throws std::invalid_argument where the parity part is not the standards' (a weight-3 column, a double diagonal, degree-1 columns after it).
    explicit Encoder(const Code& code, EncodeKernel kernel);

    // blocks * ceil(k / 8) bytes -> blocks * ceil(n / 8) bytes. Bits that pad a block's last byte are ignored in `info`, zero in `sent`.
    void encode(std::span<const std::uint8_t> info, std::span<std::uint8_t> sent, std::size_t blocks) const;
    // The same, to whole mother codewords of ceil(mother_bits / 8) bytes: known zeros and unsent bits included.
    void encode_mother(std::span<const std::uint8_t> info, std::span<std::uint8_t> mother, std::size_t blocks) const;

private:
    void plan_row(const Matrix& matrix, unsigned row, unsigned cols);
    void plan_core(const Matrix& matrix);
    Rotation rotation(unsigned col, unsigned shift) const;
    EncodePlan plan(bool with_runs) const;
    void run(const std::uint8_t* info, std::uint8_t* out, unsigned out_bits, bool with_runs, std::size_t blocks) const;

    EncodeKernel kernel_;
    unsigned k_, n_, z_, info_cols_, rows_, core_rows_, mother_bits_;
    unsigned words_, stride_;               // of a column, of a doubled column
    std::vector<Rotation> rotations_, first_parity_;
    std::vector<std::uint32_t> row_begin_;
    std::vector<std::uint8_t> has_first_parity_;
    Rotation solve_{};
    std::vector<BitRun> runs_;
};

}  // namespace featcodec::ldpc
