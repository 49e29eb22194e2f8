#!/usr/bin/env python3
"""The pages that the benchmarks write, from small made-up measurements."""

import importlib.util
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import kernels_page
import page_tables
import performance_page
import wide_page

MACHINE = {"virtual": False, "cpu": "CPU", "cores": 2, "memory_gib": 4, "isa": ["avx2"],
           "os": "Linux", "kernel": "6.1", "load_before": 0.1}  # fmt: skip
VERSIONS = dict.fromkeys(("tenon", "onnxruntime", "torch", "transformers", "python", "cc"), "1")


def row(table, case, rounds, **more):
    """rounds: {engine: [ms, …]}"""
    engines = {
        name: {"latency_ms": {"min": min(ms), "median": sorted(ms)[len(ms) // 2]}}
        for name, ms in rounds.items()
    }
    turns = [dict(zip(rounds, values)) for values in zip(*rounds.values())]
    return {"table": table, "case": case, "threads": 1, "flops": 2e9, "bytes": 1e9, "facts": {},
            "engines": engines, "rounds": turns, "roofs": {}} | more  # fmt: skip


def rendered(*rows):
    data = {"date": "2030-01-01", "machine": MACHINE, "versions": VERSIONS, "rounds": 3,
            "seconds": 0.1, "rows": list(rows)}  # fmt: skip
    return performance_page.page(None, data)


def model_row(batch, tenon, ort, compiled):
    """Latencies in ms."""
    engines = {"tenon": tenon, "ort": ort, "compile": compiled}
    figures = {e: {"latency_ms": {"median": ms}} for e, ms in engines.items()}
    ratios = {"ort": tenon / ort, "compile": tenon / compiled}
    return {"model": "m", "threads": 1, "batch": batch, "engines": figures, "ratios": ratios}


class Models(unittest.TestCase):
    def test_goal_is_about_the_faster_rival(self):
        data = {"date": "2030-01-01", "machine": MACHINE, "versions": VERSIONS, "rounds": 3,
                "seconds": 1, "size": "full", "exporter": "legacy", "roofs": {},
                "peers": ["ort", "compile"],
                "rows": [model_row(1, 6, 10, 8), model_row(8, 11, 10, 40)]}  # fmt: skip
        text = performance_page.page(data, None)
        self.assertIn("batch 1, 1 thread: 0.75× the latency", text)
        self.assertIn("the goal of at most 0.8× is met", text)
        self.assertIn("batch 8, 1 thread: slower than the faster one: m (1.10×)", text)


def start_data(cold, ready, small):
    """Milliseconds twice, then seconds; torch.compile takes 20 s."""
    tenon = {"cold_ms": cold, "warm_ms": ready + 5, "ready_ms": ready, "cache_bytes": 4e6}
    compiled = {"cold_ms": 20e3, "warm_ms": 5e3}
    return {"date": "2030-01-01", "machine": MACHINE, "versions": VERSIONS, "rounds": 3,
            "threads": 2, "size": "full", "peers": ["compile", "ort"],
            "models": [{"model": "bert_base", "engines": {"tenon": tenon, "compile": compiled,
                                                          "ort": {"error": "no | such"}}}],
            "small": {"count": 100, "cold_s": 50, "warm_s": small},
            "large": {"nodes": 2000, "seconds": 0.8}}  # fmt: skip


class Start(unittest.TestCase):
    def test_goals_met(self):
        text = performance_page.page(None, None, start_data(2000, 20, 0.3))
        self.assertIn("| bert_base | 2000 | 25.0 | 20.0 | 4 | 20000 / 5000 | failed |", text)
        self.assertIn("1/10.0 of torch.compile's time, goal 1/8: **met**", text)
        self.assertIn("100 small models, one process after another: 0.30 s warm", text)
        self.assertIn("A model of 2000 nodes, imported and planned: 0.80 s", text)
        self.assertIn("ONNX Runtime failed: no \\| such", text)
        self.assertNotIn("not met", text)

    def test_goals_missed(self):
        text = performance_page.page(None, None, start_data(3100, 61, 4))
        self.assertIn("3.10 s, goal 3 s: **not met**", text)
        self.assertIn("goal 1/8: **not met**", text)
        self.assertIn("**not met**, but bert_base (61.0 ms)", text)
        self.assertEqual(text.count("**not met**"), 4)

    def test_failure_is_shown(self):
        data = start_data(1, 1, 1)
        data["models"][0]["engines"]["tenon"] = {"error": "crash"}
        self.assertIn("bert_base: Tenon failed: crash", performance_page.page(None, None, data))


def train_row(model, tenon, eager, compiled, megabytes):
    """Milliseconds, and of memory Tenon's and both peers'."""
    times = {"tenon": tenon, "eager": eager, "compile": compiled}
    engines = {name: {"latency_ms": {"median": ms}, "peak_bytes": 1e6 * mb}
               for (name, ms), mb in zip(times.items(), megabytes)}  # fmt: skip
    engines["eager"]["difference"] = 2e-6
    return {"model": model, "threads": 2, "parameters": 1234, "engines": engines,
            "ratios": {"eager": tenon / eager, "compile": tenon / compiled}}  # fmt: skip


def train_text(*rows):
    data = {"date": "2030-01-01", "machine": MACHINE, "versions": VERSIONS, "rounds": 3,
            "seconds": 1, "threads": 2, "peers": ["eager", "compile"], "roofs": {},
            "rows": list(rows)}  # fmt: skip
    return performance_page.page(None, None, None, data)


class Training(unittest.TestCase):
    def test_speed_is_about_the_faster_peer(self):
        text = train_text(train_row("m", 10, 20, 16, (50, 100, 200)))
        self.assertIn("| m | 1,234 | 10.0 | 20.0 | 16.0 | 1.60 | 2e-06 |", text)
        self.assertIn("| m | 50 | 100 | 200 | 0.50 |", text)
        self.assertNotIn("not met", text)

    def test_one_slow_model_is_named(self):
        text = train_text(train_row("a", 10, 40, 40, (90, 100, 100)),
                          train_row("b", 10, 9, 40, (90, 100, 100)))  # fmt: skip
        self.assertIn("geometric mean 1.90, goal 1.25: **met**", text)
        self.assertIn("slower than the faster peer, but b (0.90): **not met**", text)
        self.assertIn("peak memory, geometric mean 0.90, goal 0.8: **not met**", text)

    def test_other_losses_void_a_row(self):
        one = train_row("m", 10, 20, 16, (50, 100, 200))
        one["engines"]["compile"]["difference"] = 0.01
        self.assertIn("m: the first losses differ by 1.0e-02; its times", train_text(one))

    def test_failure_is_not_met(self):
        failing = {"model": "f", "threads": 2, "engines": {"tenon": {"error": "crash"}},
                   "ratios": {}}  # fmt: skip
        text = train_text(train_row("m", 10, 20, 16, (50, 100, 200)), failing)
        self.assertIn("geometric mean 1.60, goal 1.25: **not met**", text)
        self.assertIn("f, 2 threads: Tenon failed: crash", text)


def wide_row(model, n, **times):
    """Milliseconds of a run of all members, by engine."""
    engines = {e: {"latency_ms": {"median": ms}, "difference": 1e-7, "bytes": 2e6} for e, ms in times.items()}
    ratios = {e: ms / times["wide"] for e, ms in times.items() if e != "wide"}
    return {"model": model, "n": n, "engines": engines, "ratios": ratios}


def wide_data(*rows):
    return {"date": "2030-01-01", "machine": MACHINE, "versions": VERSIONS, "rounds": 3, "seconds": 1,
            "threads": 2, "rows": list(rows)}  # fmt: skip


def wide_text(*rows):
    return performance_page.page(wide=wide_data(*rows))


class Wide(unittest.TestCase):
    def test_goals_met(self):
        text = wide_text(wide_row("mlp_b8", 1, wide=0.002, loop=0.002, eager=0.02, vmap=0.03),
                         wide_row("mlp_b8", 100, wide=0.1, loop=0.15, eager=2, vmap=0.3),
                         wide_row("train_sgd", 32, wide=1, loop=2, eager=5))  # fmt: skip
        self.assertIn("| mlp_b8 | 100 | 1.00 | 1.50 | 20.0 | – | 3.00 | – | 1.50 | 3.00 | 1e-07 |", text)
        self.assertIn("geometric mean 3.00 (3.00 at 100), goal 1.5: **met**", text)
        self.assertIn("mlp_b8, N = 100: 20.0× PyTorch's eager loop, goal 10: **met**", text)
        self.assertIn("train_sgd, 32 members: 5.0× the throughput", text)
        self.assertNotIn("not met", text)

    def test_slower_than_the_loop(self):
        text = wide_text(wide_row("lstm", 16, wide=1.1, loop=1, eager=2))
        self.assertIn("never slower than Tenon's loop, but lstm at 16 (0.91): **not met**", text)

    def test_time_of_a_member_rises(self):
        rows = [wide_row("lstm", n, wide=ms, loop=9, eager=9) for n, ms in ((1, 1), (4, 3), (8, 7))]
        self.assertEqual(wide_page.rises(rows), [8])
        self.assertIn("but not lstm at 8: **not met**", wide_text(*rows))

    def test_rows_of_several_runs_say_so(self):
        data = {"rounds": 3, "rows": [{"rounds": 5, "commit": "a"}, {"rounds": 3, "commit": "b"}]}
        self.assertEqual(wide_page.between(data, "rounds"), "3 to 5")
        self.assertIn("a, b", wide_page.builds(data)[0])
        data["rows"].pop()
        self.assertEqual((wide_page.between(data, "rounds"), wide_page.builds(data)), ("5", []))

    def test_wrong_results_count_for_nothing(self):
        row = wide_row("m", 16, wide=1, eager=3, vmap=2)
        row["engines"]["vmap"]["difference"] = 1e-3
        self.assertEqual(wide_page.speed(row), 3)
        row["engines"]["wide"]["difference"] = 1e-3
        self.assertIsNone(wide_page.speed(row))
        text = wide_text(row)
        self.assertIn("| m | 16 | wrong |", text)
        self.assertIn("vmap, compiled: results are off by 1.0e-03", text)

    def test_failure_is_not_met(self):
        row = wide_row("m", 16, eager=3, wide=1)
        row["engines"]["wide"] = {"error": "no | kernel"}
        row["ratios"] = {}
        text = wide_text(row)
        self.assertIn("| m | 16 | failed |", text)
        self.assertIn("Tenon wide failed: no \\| kernel", text)
        self.assertIn("but m at 16 (–): **not met**", text)

    def test_disturbed_rounds_are_told(self):
        row = wide_row("m", 16, eager=3, wide=1)
        row["engines"]["eager"]["latency_ms"]["spread"] = 7
        self.assertIn("In 1 of 2 measurements the slowest round took over 2× the fastest: m at 16, PyTorch eager, loop (7.0×).",
                      wide_text(row))  # fmt: skip

    def test_growth_by_model(self):
        import check_wide

        rows = [wide_row("a", n, wide=ms, loop=9, eager=9) for n, ms in ((1, 1), (4, 2))]
        rows += [wide_row("b", n, wide=ms, loop=3, eager=9) for n, ms in ((1, 1), (4, 4))]
        failures = dict(check_wide.verdicts(wide_data(*rows)))
        self.assertEqual(failures["a"], [])
        self.assertEqual(len(failures["b"]), 2)


class Parts(unittest.TestCase):
    def test_what_is_not_measured_again_stays(self):
        start = performance_page.page(start=start_data(2000, 20, 0.3))
        fresh = performance_page.page(start=start_data(3100, 61, 4), old=start)
        self.assertEqual(fresh, performance_page.page(start=start_data(3100, 61, 4)))
        both = performance_page.page(None, {"date": "2030-01-02", "machine": MACHINE, "versions": VERSIONS, "rounds": 3,
                                            "seconds": 0.1, "rows": [row("conv", "c", {"tenon": [1]})]}, old=start)  # fmt: skip
        self.assertTrue(both.index("| bert_base | 2000 |") < both.index("| c |"))
        self.assertIn("on 2030-01-02", both)
        self.assertEqual(performance_page.old_parts(both)["start"], performance_page.old_parts(start)["start"] + [""])


class Figures(unittest.TestCase):
    def test_speed_is_median_of_neighbours(self):
        one = row("conv", "c", {"tenon": [1, 2, 4], "torch": [2, 3, 4], "ort": [9, 2, 9]})
        self.assertEqual(kernels_page.speed(one, ("torch", "ort")), 1)  # of 2, 1, 1
        self.assertEqual(kernels_page.speed(one, ("torch",)), 1.5)  # of 2, 1.5, 1

    def test_wrong_result_has_no_speed(self):
        one = row("conv", "c", {"tenon": [1], "torch": [2]}, difference=1e-3)
        self.assertIsNone(kernels_page.speed(one, ("torch",)))

    def test_share_of_a_roof(self):
        one = row("rows", "r", {"tenon": [100]}, roofs={"copy_gbs": 20})
        self.assertAlmostEqual(kernels_page.share(one, "copy_gbs"), 0.5)

    def test_allowed_time_of_fused_work(self):
        epilogue = {"side": "epilogue", "n": 4096, "k": 64}
        one = row("fused", "f", {"tenon": [1]}, facts=epilogue)
        self.assertAlmostEqual(kernels_page.allowed(one, {"bare": 10, "alone": 5}), 16)
        one["facts"]["k"] = 1024
        self.assertAlmostEqual(kernels_page.allowed(one, {"bare": 10}), 10.5)

    def test_geometric_mean(self):
        self.assertAlmostEqual(page_tables.geometric_mean([1, 4]), 2)
        self.assertIsNone(page_tables.geometric_mean([]))


class Pages(unittest.TestCase):
    def test_products_met(self):
        text = rendered(row("matmul_weight", "32x64x128", {"tenon": [1, 1], "onednn": [2, 2]}))
        self.assertIn("geometric mean 2.00, goal 1.15: **met**", text)
        self.assertIn("| 32x64x128 | 1.00 |", text)

    def test_skipped_case_is_not_met(self):
        skipped = {"table": "conv", "case": "big", "threads": 1, "skipped": "too long"}
        facts = {"network": "n", "batch": 1}
        text = rendered(row("conv", "c", {"tenon": [1], "torch": [2]}, facts=facts), skipped)
        self.assertIn("(of 1 of 2 cases), goal 1.00: **not met**", text)
        self.assertIn("big, 1 thread: skipped, too long", text)

    def test_failure_is_shown(self):
        failing = row("attention", "128", {"torch": [2]})
        failing["engines"]["tenon"] = {"error": "no kernel | for it"}
        text = rendered(failing)
        self.assertIn("| 128 | failed |", text)
        self.assertIn("Tenon failed: no kernel \\| for it", text)

    def test_wrong_result_is_shown(self):
        wrong = row("attention", "128", {"tenon": [1], "torch": [2]}, difference=2e-3)
        text = rendered(wrong)
        self.assertIn("| 128 | wrong | 2.00 |", text)
        self.assertIn("off by 2.0e-03", text)

    def test_memory_of_attention(self):
        rows = []
        for length, peak in ((512, 10), (2048, 16), (8192, 40)):
            rows.append(row("attention", str(length), {"tenon": [1], "torch": [2]}))
            rows[-1]["engines"]["tenon"]["peak_bytes"] = peak * 1000000
        self.assertIn("4.0 times as much from 2048 to 8192", rendered(*rows))

    def test_call_is_taken_off_small_times(self):
        call = row("call", "gelu-1x1", {"tenon": [0.001], "compile": [0.02]})
        small = row("rows", "gelu", {"tenon": [0.01], "eager": [0.02], "compile": [0.05]})
        small["facts"] = {"large": False}
        self.assertIn("| 2.00 | 5.00 | 3.00 |", rendered(call, small))

    def test_every_table_has_a_title(self):
        names = ("matmul_weight", "matmul", "matmul_small", "fused", "conv", "permute",
                 "attention", "matvec")  # fmt: skip
        facts = {"side": "epilogue", "n": 1, "k": 1, "network": "n", "batch": 1, "large": True}
        text = rendered(*[row(name, "c", {"tenon": [1]}, facts=facts) for name in names])
        self.assertEqual(text.count("\n## "), len(names) + 2)


@unittest.skipUnless(
    importlib.util.find_spec("numpy") and importlib.util.find_spec("onnx"), "needs numpy and onnx"
)
class Cases(unittest.TestCase):
    def test_distinct_convolutions(self):
        import cases_conv

        self.assertEqual(len(cases_conv.resnet50()), 23)
        networks = (*cases_conv.resnet50(), *cases_conv.mobilenet_v2())
        self.assertTrue(all(conv.result == -(-conv.size // conv.stride) for conv in networks))

    def test_tables(self):
        import kernel_cases

        cases = kernel_cases.cases()
        self.assertEqual({table for table, _ in cases}, set(kernel_cases.TABLES))
        self.assertFalse([name for _, name in cases if set(name) & set(" /")])

    def test_small_case_builds(self):
        import kernel_cases

        case = kernel_cases.find("fused", "layernorm-31x127x257")
        model = case.model(case.arrays())
        self.assertEqual([node.op_type for node in model.graph.node],
                         ["LayerNormalization", "MatMul"])  # fmt: skip


if __name__ == "__main__":
    unittest.main()
