// bind_operands.hpp: several operands of one dtype, brought to one shape without being spread out.
#pragma once

#include <array>

#include "bind_arguments.hpp"

namespace bind {

/// The operands as the kernels want them: of one dtype, and all of the result's shape. A number, a 0-D array or, under a
/// matrix, one row is seen with strides 0, not spread out.
class operands {
public:
    template <name Arg>
    void add(const operand<Arg>& given) {
        if (given.is_number()) entries_.push_back({Arg.text, nullptr, given.number()});
        else add(Arg.text, given.get());
    }
    void add(const char* arg, const tensor& array) {
        if (leading_ == nullptr) first_ = arg, leading_ = &array;
        same_type(*leading_, first_, array, arg);
        if (array.shape.size() > leading_->shape.size()) leading_ = &array;
        entries_.push_back({arg, &array, 0.0});
    }
    bool is_double() const {
        if (leading_ == nullptr) throw py::type_error(join(entries_[0].arg, " or ", entries_[1].arg, " must be an array"));
        return leading_->is_double;
    }
    const extents& shape() const { return leading_->shape; }

    template <class T>
    zc::view2d<const T> view(std::size_t which, T& constant) const {
        const entry& it = entries_[which];
        const auto whole = leading_->view<T>();
        if (it.array == nullptr) {
            constant = static_cast<T>(it.number);
            return {&constant, whole.rows, whole.columns, 0, 0};
        }
        const tensor& array = *it.array;
        if (array.shape == leading_->shape) return array.view<T>();
        if (array.shape.empty()) return {static_cast<const T*>(array.data), whole.rows, whole.columns, 0, 0};
        if (leading_->shape.size() == 2 && array.shape.size() == 1 && array.shape[0] == leading_->shape[1])
            return {static_cast<const T*>(array.data), whole.rows, whole.columns, 0, array.strides[0]};
        throw py::value_error(join(it.arg, " has shape ", shape_text(array.shape), ", which does not fit ",
                                   shape_text(leading_->shape),
                                   "; shapes must be equal, or one of them a row of the other, or a number"));
    }
    const char* arg(std::size_t which) const { return entries_[which].arg; }

private:
    struct entry {
        const char* arg = nullptr;
        const tensor* array = nullptr;
        double number = 0.0;
    };
    std::vector<entry> entries_;
    const char* first_ = "";
    const tensor* leading_ = nullptr;
};

/// kernel<T>(views, out, threads, stop) on operands of either type.
template <std::size_t Count, class Kernel>
py::object elementwise(const operands& given, const array_out<"out">& out, int threads, Kernel kernel) {
    return by_type(given.is_double(), [&]<class T>() -> py::object {
        std::array<T, Count> constants;
        std::array<zc::view2d<const T>, Count> in;
        for (std::size_t i = 0; i < Count; ++i) in[i] = given.view<T>(i, constants[i]);
        auto result = out.or_new<T>(given.shape());
        for (std::size_t i = 0; i < Count; ++i) same_or_apart<T>(in[i], result.view, given.arg(i));
        released([&](auto stop) { kernel.template operator()<T>(in, result.view, threads, stop); });
        return result.array;
    });
}

}  // namespace bind
