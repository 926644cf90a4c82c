import Foundation

/// beta_t = c·(t/(1−t))^a and its derivative. (flow/schedule.py)
public struct MetricSchedule: Sendable {
    public let c: Double
    public let a: Double

    public init(c: Double, a: Double) { (self.c, self.a) = (c, a) }

    public func beta(_ t: Double) -> Double { t == 1 ? .infinity : c * pow(t / (1 - t), a) }

    /// (beta_t, d beta_t/dt); the derivative is taken as 0 at t = 0.
    public func callAsFunction(_ t: Double) -> (beta: Double, derivative: Double) {
        if t == 0 { return (beta(t), 0) }
        if t == 1 { return (beta(t), .infinity) }
        return (beta(t), c * a * pow(t / (1 - t), a - 1) / ((1 - t) * (1 - t)))
    }
}

/// The step rules: at which beta a step sees p, and by how much beta rises in it. (flow/step.py)
public enum Stepper: String, Codable, Sendable {
    case euler, corrected
    case commit  // of masked models: rows are written and stay, see Unmasking.swift

    public func rise(_ schedule: MetricSchedule, t: Double, h: Double) -> (beta: Double, rise: Double) {
        switch self {
        case .euler:
            let (beta, derivative) = schedule(t)
            return (beta, h * derivative)
        case .corrected:
            let rise = t < 1 ? schedule.beta(min(t + h, 1)) - schedule.beta(t) : .infinity
            return (schedule.beta(min(t + h / 2, 1)), rise)
        case .commit:
            return (schedule.beta(t), 0)
        }
    }
}
