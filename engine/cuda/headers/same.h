// Whether a call through our declaration of a function, with plain types, passes
// what NVIDIA's declaration expects: as many parameters, each a word of the same
// size or a floating-point number of the same size. Handles may be integers and
// enumerations int; pointers must point to what fits, if ours says to what.
#include <cstddef>
#include <type_traits>

template <class T, class = void>
constexpr bool complete = false;
template <class T>
constexpr bool complete<T, std::void_t<decltype(sizeof(T))>> = true;

template <class Ours, class Theirs>
constexpr bool fits();

template <class Ours, class Theirs>
constexpr bool points_alike() {
	if constexpr (std::is_const_v<Ours> && !std::is_const_v<Theirs>)
		return false; // theirs writes where ours may not
	else if constexpr (std::is_void_v<Ours> || std::is_void_v<Theirs>)
		return true;
	else if constexpr (std::is_function_v<Ours> || std::is_function_v<Theirs>)
		return std::is_same_v<Ours, Theirs>;
	else if constexpr (!complete<Ours> || !complete<Theirs>)
		return false; // to what nobody knows: void in ours
	else if constexpr (std::is_class_v<Ours>)
		return std::is_class_v<Theirs> && sizeof(Ours) == sizeof(Theirs) && alignof(Ours) == alignof(Theirs);
	else if constexpr (std::is_class_v<Theirs>)
		return sizeof(Ours) == 1 && std::is_integral_v<Ours>; // bytes
	else
		return fits<std::remove_cv_t<Ours>, std::remove_cv_t<Theirs>>();
}

template <class T>
constexpr bool word = std::is_integral_v<T> || std::is_enum_v<T> || std::is_pointer_v<T>;

template <class Ours, class Theirs>
constexpr bool fits() {
	if constexpr (std::is_void_v<Ours> || std::is_void_v<Theirs>)
		return std::is_void_v<Ours> && std::is_void_v<Theirs>;
	else if constexpr (std::is_pointer_v<Ours> && std::is_pointer_v<Theirs>)
		return points_alike<std::remove_pointer_t<Ours>, std::remove_pointer_t<Theirs>>();
	else if constexpr (std::is_floating_point_v<Ours> && std::is_floating_point_v<Theirs>)
		return sizeof(Ours) == sizeof(Theirs);
	else
		return word<Ours> && word<Theirs> && sizeof(Ours) == sizeof(Theirs);
}

// same<Ours, Theirs> is of pointers to functions.
template <class Ours, class Theirs>
constexpr bool same = false;
template <class RO, class... O, class RT, class... T>
constexpr bool same<RO (*)(O...), RT (*)(T...)> = [] {
	if constexpr (sizeof...(O) == sizeof...(T))
		return fits<RO, RT>() && (fits<O, T>() && ...);
	else
		return false;
}();

// ours is a function or a pointer to one; theirs is a function.
#define SAME_CALL(ours, theirs)                                                                                    \
	static_assert(same<std::decay_t<decltype(ours)>, decltype(&theirs)>, #theirs " takes other parameters")

// A field of a struct at the same place, of the same size and kind.
#define SAME_FIELD(ours, field, theirs, their_field)                                                              \
	static_assert(offsetof(ours, field) == offsetof(theirs, their_field) &&                                        \
	                  sizeof(ours::field) == sizeof(theirs::their_field) &&                                        \
	                  std::is_floating_point_v<decltype(ours::field)> ==                                            \
	                      std::is_floating_point_v<decltype(theirs::their_field)>,                                  \
	              #ours "." #field " is not where " #theirs "." #their_field " is")
#define SAME_NUMBER(ours, theirs) static_assert((long long)(ours) == (long long)(theirs), #ours " is not " #theirs)
#define SAME_SIZE(ours, theirs)                                                                                    \
	static_assert(sizeof(ours) == sizeof(theirs) && alignof(ours) == alignof(theirs), #ours " is not as large as " #theirs)
